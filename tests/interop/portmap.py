"""A home network, a router and the internet: the router (miniupnpd, and a small one of our own for IPv6)
is asked to let peers in, by PCP, NAT-PMP and UPnP.  What is mapped is tried from the outside.

usage: portmap.py [--only NAME] [--quick]
"""
import ctypes
import http.server
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import data
import report as reports
from peers.spate import PROGRAM, QUIET_NET, Spate
from world import run, wait_for

HOME, OTHER, ROUTER = '10.234.0.2', '10.234.0.3', '10.234.0.1'
WAN, FAR = '10.235.0.1', '10.235.0.2'
HOME6, ROUTER6 = '2a00:1234::2', 'fe80::1'
PORT, OUTER = 6881, '11.22.33.44'  # miniupnpd wants a public address; it is only text

RULES = '''
table inet filter {
  chain forward { type filter hook forward priority 0; policy accept; jump miniupnpd; }
  chain miniupnpd { }
  chain prerouting_miniupnpd { }
  chain postrouting_miniupnpd { }
  chain prerouting { type nat hook prerouting priority -100; jump prerouting_miniupnpd; }
  chain postrouting { type nat hook postrouting priority 100; jump postrouting_miniupnpd; oifname "wan0" masquerade; }
  chain input { type filter hook input priority 0; policy accept; %s; }
}
'''
NO_PCP = 'udp dport 5351 @th,64,8 2 drop'


def in_namespace(name, what):
    """Runs what() on a thread of that network: sockets belong to where they are made."""
    result = []

    def work():
        fd = os.open('/run/netns/' + name, os.O_RDONLY)
        if ctypes.CDLL(None, use_errno=True).setns(fd, 0x40000000) != 0:
            raise OSError(ctypes.get_errno(), 'setns')
        os.close(fd)
        result.append(what())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return result[0] if result else None


class Home:
    """The host that Spate runs on, in place of world.Host."""
    ip, ns = HOME, 'home'

    def argv(self, argv):
        return ['nsenter', '--net=/run/netns/home', *argv]

    def gone(self):
        pass


class Network:
    def __init__(self, world):
        self.world, self.daemon, self.seen = world, None, ''
        for name in ('home', 'router', 'net'):
            run('ip', 'netns', 'add', name)
            run('ip', '-n', name, 'link', 'set', 'lo', 'up')
        run('ip', 'link', 'add', 'lan0', 'netns', 'home', 'type', 'veth', 'peer', 'name', 'gw0', 'netns', 'router')
        run('ip', 'link', 'add', 'wan0', 'netns', 'router', 'type', 'veth', 'peer', 'name', 'in0', 'netns', 'net')
        for ns, dev, addr in (('home', 'lan0', HOME), ('home', 'lan0', OTHER), ('router', 'gw0', ROUTER),
                              ('router', 'wan0', WAN), ('net', 'in0', FAR)):
            run('ip', '-n', ns, 'addr', 'add', addr + '/24', 'dev', dev)
            run('ip', '-n', ns, 'link', 'set', dev, 'up')
        run('ip', '-n', 'home', 'route', 'add', 'default', 'via', ROUTER)
        run('ip', 'netns', 'exec', 'router', 'sysctl', '-qw', 'net.ipv4.ip_forward=1')

    def rules(self, extra='accept'):
        subprocess.run(['ip', 'netns', 'exec', 'router', 'nft', '-f', '-'], check=True,
                       input=('flush ruleset' + RULES % extra).encode())

    def start(self, natpmp, upnp, extra='accept', more=''):
        self.rules(extra)
        path = os.path.join(self.world.dir, 'miniupnpd.conf')
        with open(path, 'w') as file:
            file.write('ext_ifname=wan0\next_ip=%s\nlistening_ip=gw0\nenable_natpmp=%s\nenable_upnp=%s\n'
                       'secure_mode=yes\nsystem_uptime=no\nnotify_interval=60\n%s\n'
                       'uuid=00000000-0000-0000-0000-000000000000\nallow 1024-65535 0.0.0.0/0 1024-65535\n'
                       % (OUTER, natpmp, upnp, more))
        self.log = os.path.join(self.world.dir, 'miniupnpd.log')
        self.daemon = self.world.popen(['ip', 'netns', 'exec', 'router', 'miniupnpd', '-d', '-f', path], self.log)
        time.sleep(0.5)

    def stop(self, how=signal.SIGTERM):
        if self.daemon:
            self.world.reap(self.daemon, how)
        self.daemon = None

    def mapped(self, protocol='tcp'):
        """External ports that lead to port PORT at home."""
        said = subprocess.run(['ip', 'netns', 'exec', 'router', 'nft', '-n', 'list', 'chain', 'inet', 'filter',
                               'prerouting_miniupnpd'], check=True, stdout=subprocess.PIPE).stdout.decode()
        found = []
        for line in said.splitlines():
            self.seen = line if 'dnat' in line else self.seen
            if 'dnat' in line and re.search(r'%s(:| port )%d\b' % (re.escape(HOME), PORT), line) and (
                    '@nh,72,8 0x%x ' % {'tcp': 6, 'udp': 17}[protocol] in line or protocol in line):
                found.append(int(re.search(r'dport (\d+)', line)[1]))
        return found


class Tracker:
    """On the internet; notes the ports it is told."""

    def __init__(self):
        told = self.ports = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_GET(self):
                told.append(int(re.search(r'[?&]port=(\d+)', self.path)[1]))
                body = b'd8:intervali60e12:min intervali1e5:peers0:e'
                self.send_response(200)
                self.send_header('Content-Length', str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self.server = in_namespace('net', lambda: http.server.ThreadingHTTPServer((FAR, 0), Handler))
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = 'http://%s:%d/announce' % self.server.server_address


class Mapped(Spate):
    """With what QUIET_NET switches off."""

    def launch(self, command, torrent, folder, *options):
        quiet = [o for o in QUIET_NET if o != '--no-portmap']
        argv = [PROGRAM, command, torrent.path, '--dir', folder, '--listen', ':%d' % PORT, '--state', self.state,
                '--json', *quiet, *self.options, *options]
        if not any(o.startswith('--listen') for o in options):
            argv += ['--listen', '[::]:%d' % PORT]
        with open(self.events_path, 'ab') as out:
            self.start(argv, stdout=out)

    def said(self, part):
        return [e['text'] for e in self.events('portmap') if part in e['text']]

    def is_complete(self):
        return False


def reaches(torrent, port):
    """A peer on the internet, who gets a handshake from the mapped port."""
    def work():
        try:
            with socket.create_connection((WAN, port), 3) as sock:
                sock.settimeout(3)
                sock.sendall(b'\x13BitTorrent protocol' + bytes(8) + torrent.hash + b'-XX0000-abcdefghijkl')
                got = b''
                while len(got) < 68:
                    more = sock.recv(68 - len(got))
                    if not more:
                        return False
                    got += more
                return got[28:48] == torrent.hash
        except OSError:
            return False
    return in_namespace('net', work)


def ask_for_other_host(port):
    """Another host of the home takes that external port (NAT-PMP)."""
    def work():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind((OTHER, 0))
            sock.settimeout(3)
            sock.sendto(struct.pack('!BBHHHI', 0, 2, 0, port, port, 3600), (ROUTER, 5351))
            return struct.unpack('!HH', sock.recv(16)[8:12])[1]
    return in_namespace('home', work)


class PcpServer:
    """PCP alone, over IPv6: grants what it is asked for, and keeps the book."""

    def __init__(self):
        def bind():
            sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b'gw0\0')
            sock.bind((ROUTER6, 5351, 0, socket.if_nametoindex('gw0')))
            return sock
        self.open, self.requests, self.began = {}, 0, time.monotonic()
        self.sock = in_namespace('router', bind)
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            q, peer = self.sock.recvfrom(1100)
            if len(q) != 60 or q[0] != 2 or q[1] != 1:
                continue
            self.requests += 1
            life = struct.unpack('!I', q[4:8])[0]
            client = socket.inet_ntop(socket.AF_INET6, q[8:24])
            key = (client, q[36], struct.unpack('!H', q[40:42])[0])
            error = 12 if client != peer[0].split('%')[0] else 0
            if not error and life:
                self.open[key] = q[24:36]
            elif not error and self.open.get(key) == q[24:36]:
                del self.open[key]
            epoch = int(time.monotonic() - self.began)
            self.sock.sendto(struct.pack('!BBBBII12x', 2, 0x81, 0, error, min(life, 20), epoch) + q[24:42] + q[40:42]
                             + q[8:24], peer)


class Cases:
    def __init__(self, world, report, quick):
        self.world, self.report, self.quick = world, report, quick
        self.net = Network(world)
        self.torrent, self.folder = reports.one_file(world, 'mapped', data.MIB)

    def spate(self, *options):
        return Mapped(self.world, options=options, host=Home())

    def works(self, peer, method, began, limit):
        ports = wait_for(method + ' maps TCP', lambda: self.net.mapped() if peer.said(method + ': TCP') else None, 20,
                         peer.alive)
        took = time.monotonic() - began
        self.report.claim(took < limit and len(ports) == 1, '%s: mapped after %.1f s: %s' % (
            method, took, peer.said(method + ': TCP')))
        wait_for(method + ' maps UDP', lambda: self.net.mapped('udp'), 5, peer.alive)
        self.report.claim(self.net.mapped('udp') == ports, method + ': UDP at the same port')
        self.report.claim(reaches(self.torrent, ports[0]), method + ': a peer outside gets in')
        return ports[0]

    def ends(self, peer, method):
        began = time.monotonic()
        peer.process.send_signal(signal.SIGINT)
        peer.process.wait(15)
        took = time.monotonic() - began
        left = self.net.mapped() + self.net.mapped('udp')
        self.report.claim(not left and took < 3, '%s: removed at the end, after %.1f s, left: %s' % (method, took, left))

    def restarts(self, peer, method, limit, *settings):
        """The router forgets everything, after long enough for its clock to tell."""
        time.sleep(6)
        self.net.stop(signal.SIGKILL)
        self.net.start(*settings)
        began = time.monotonic()
        wait_for('%s: mapped again' % method, lambda: self.net.mapped() and self.net.mapped('udp'), limit, peer.alive)
        self.report.claim(True, '%s: after a restart of the router mapped again within %.1f s'
                          % (method, time.monotonic() - began))

    def one(self, method, limit, *settings, restart=None):
        self.net.start(*settings)
        with self.spate() as peer:
            began = time.monotonic()
            peer.seed(self.torrent, self.folder)
            self.works(peer, method, began, limit)
            if restart:
                self.restarts(peer, method, restart, *settings)
            self.ends(peer, method)
        self.net.stop()

    def pcp(self):
        self.one('PCP', 1.5, 'yes', 'no', restart=15)

    def natpmp(self):
        self.one('NAT-PMP', 2, 'yes', 'no', NO_PCP, restart=15)

    def upnp(self):
        self.one('UPnP', 8, 'no', 'yes')

    def renewal(self):
        """Granted for 20 s; it is still there after 45."""
        self.net.start('yes', 'no', 'accept', 'min_lifetime=10\nmax_lifetime=20')
        with self.spate() as peer:
            peer.seed(self.torrent, self.folder)
            wait_for('mapped', self.net.mapped, 10, peer.alive)
            gone = 0
            for _ in range(90):
                time.sleep(0.5)
                gone += not self.net.mapped()
            self.report.claim(gone == 0 and not peer.said('lost'), 'renewed: gone in %d of 90 looks' % gone)
        self.net.stop()

    def other_port(self):
        """The port is another host's: the one we got is announced."""
        self.net.start('yes', 'no')
        self.report.claim(ask_for_other_host(PORT) == PORT, 'another host has the port')
        tracker = Tracker()
        with self.spate('--tracker', tracker.url) as peer:
            peer.seed(self.torrent, self.folder)
            ports = wait_for('another port', self.net.mapped, 10, peer.alive)
            self.report.claim(ports[0] != PORT and reaches(self.torrent, ports[0]), 'got port %s' % ports)
            wait_for('announced', lambda: ports[0] in tracker.ports, 45, peer.alive)
            self.report.claim(True, 'the tracker is told: %s' % tracker.ports)
        self.net.stop()

    def other_port_upnp(self):
        self.net.start('yes', 'yes', 'iifname "gw0" ip saddr %s udp dport 5351 drop' % HOME)
        self.report.claim(ask_for_other_host(PORT) == PORT, 'another host has the port')
        with self.spate() as peer:
            peer.seed(self.torrent, self.folder)
            ports = wait_for('another port', self.net.mapped, 15, peer.alive)
            self.report.claim(ports[0] != PORT and reaches(self.torrent, ports[0]), 'UPnP: got port %s' % ports)
            self.ends(peer, 'UPnP')
        self.net.stop()

    def pinholes(self):
        """IPv6: PCP is asked from the address that peers connect to."""
        run('ip', '-n', 'router', 'addr', 'add', ROUTER6 + '/64', 'dev', 'gw0', 'nodad')
        run('ip', '-n', 'home', 'addr', 'add', HOME6 + '/64', 'dev', 'lan0', 'nodad')
        run('ip', '-n', 'home', 'route', 'add', 'default', 'via', ROUTER6, 'dev', 'lan0')
        run('ip', '-n', 'router', 'route', 'add', '2a00:1234::/64', 'dev', 'gw0')
        self.net.rules()
        server = PcpServer()
        with self.spate() as peer:
            peer.seed(self.torrent, self.folder)
            want = {(HOME6, 6, PORT), (HOME6, 17, PORT)}
            wait_for('both pinholes', lambda: set(server.open) == want, 10, peer.alive)
            self.report.claim(True, 'pinholes: %s' % peer.said('2a00'))
            asked = server.requests
            wait_for('renewal', lambda: server.requests >= asked + 2, 20, peer.alive)
            self.report.claim(set(server.open) == want, 'pinholes: renewed')
            peer.process.send_signal(signal.SIGINT)
            peer.process.wait(15)
            self.report.claim(not server.open, 'pinholes: closed at the end')
        run('ip', '-n', 'home', 'route', 'del', 'default', 'via', ROUTER6, 'dev', 'lan0')
        run('ip', '-n', 'home', 'addr', 'del', HOME6 + '/64', 'dev', 'lan0')

    def not_asked(self):
        """Told not to, or listening on loopback alone: nothing is sent to the router."""
        self.net.start('yes', 'yes', 'udp dport { 1900, 5351 } counter')
        for options in (['--no-portmap'], ['--listen', '127.0.0.1:0']):
            with self.spate() as peer:
                before = self.router_heard()
                if '--listen' in options:
                    argv = [PROGRAM, 'seed', self.torrent.path, '--dir', self.folder, '--no-state', '--json', *options]
                    with open(peer.events_path, 'ab') as out:
                        peer.start(argv, stdout=out)
                else:
                    peer.seed(self.torrent, self.folder, *options)
                peer.wait_event('listening', 10)
                time.sleep(3)
                self.report.claim(not peer.events('portmap') and self.router_heard() == before,
                                  '%s: the router is not asked' % ' '.join(options))
        before = self.router_heard()
        with self.spate() as peer:
            peer.seed(self.torrent, self.folder)
            wait_for('mapped', self.net.mapped, 10, peer.alive)
        self.report.claim(self.router_heard() > before, 'without them it is')
        self.net.stop()

    def silent(self):
        """A router that knows none of it: said once, and the end is not held up."""
        self.net.rules('udp dport { 1900, 5351 } drop')
        with self.spate() as peer:
            peer.seed(self.torrent, self.folder)
            wait_for('it is said', lambda: peer.said('did not answer') and peer.said('UPnP: no router'), 15, peer.alive)
            self.report.claim(len(peer.events('portmap')) == 2, 'silent router: %s' % [
                e['text'] for e in peer.events('portmap')])
            self.ends(peer, 'silent router')
        with self.spate() as peer:
            peer.seed(self.torrent, self.folder)
            time.sleep(2.5)  # UPnP is in the middle of it
            self.ends(peer, 'silent router, early')

    def router_heard(self):
        """Packets that asked it for anything."""
        said = subprocess.run(['ip', 'netns', 'exec', 'router', 'nft', 'list', 'chain', 'inet', 'filter', 'input'],
                              check=True, stdout=subprocess.PIPE).stdout.decode()
        return int(re.search(r'packets (\d+)', said)[1])


ALL_CASES = ['pcp', 'natpmp', 'upnp', 'other_port', 'other_port_upnp', 'pinholes', 'not_asked', 'silent', 'renewal']
QUICK = ['pcp', 'natpmp', 'upnp', 'pinholes', 'not_asked']


def body(world, report, args):
    cases = Cases(world, report, args.quick)
    for name in [args.only] if args.only else QUICK if args.quick else ALL_CASES:
        try:
            getattr(cases, name)()
        except (TimeoutError, AssertionError) as error:
            report.claim(False, '%s: %s' % (name, error))
            report.note(cases.net.seen)
            cases.net.stop()


if __name__ == '__main__':
    sys.exit(reports.main(__doc__, 'portmap', body, (['--only'], {'choices': ALL_CASES}),
                          (['--quick'], {'action': 'store_true'})))
