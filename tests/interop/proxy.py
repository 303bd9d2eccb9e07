"""Downloads through proxies, while every packet that leaves the client is looked at: none may go to a peer,
a tracker or a name server; only to the proxy.

usage: proxy.py
"""
import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import data
import report as reports
from bcode import Torrent, encode
from peers.base import Peer
from peers.source import Source
from peers.spate import PROGRAM, Spate
from world import GATE, wait_for

SIZE = 4 * data.MIB
NAME = 'tracker.only-the-proxy-knows.test'


class Proxy(Peer):
    """socks.py, or a proxy of Debian, on a host of its own."""
    name = 'proxy'
    port = 1080

    def run(self, *options):
        self.targets = os.path.join(self.home, 'targets')
        self.start(['/usr/bin/python3', os.path.join(os.path.dirname(os.path.abspath(__file__)), 'socks.py'), self.ip,
                    str(self.port), '--log', self.targets, '--names', NAME + '=' + GATE, *options])
        self.wait_port()
        return self

    def run_program(self, *argv):
        self.start(list(argv))
        self.wait_port()
        return self

    def asked(self):
        try:
            with open(self.targets) as file:
                return set(file.read().split())
        except FileNotFoundError:
            return set()


class Tracker:
    """Names the seeder to whoever asks, and notes who that was."""

    def __init__(self, seeder):
        tracker = self
        self.clients = set()
        self.udp = set()

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_GET(self):
                tracker.clients.add(self.client_address[0])
                if self.path.endswith('.torrent'):
                    body = tracker.torrent
                else:
                    body = encode({'interval': 1800, 'peers': socket.inet_aton(seeder.ip) + struct.pack('>H', seeder.port)})
                self.send_response(200)
                self.send_header('Content-Length', str(len(body)))
                self.end_headers()
                self.wfile.write(body)
        self.server = ThreadingHTTPServer((GATE, 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def url(self, host=NAME):
        return 'http://%s:%d/announce' % (host, self.port)


class Wire:
    """Whom the packets of one host go to."""

    def __init__(self, host, device=None):
        self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self.sock.bind((device or 'v' + host.ns[1:], 0))
        self.source = socket.inet_aton(host.ip)
        self.seen = set()
        self.count = 0
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        while True:
            try:
                frame, came = self.sock.recvfrom(65536)
            except OSError:
                return  # the host is gone
            if came[2] == socket.PACKET_OUTGOING:
                continue  # to the host, not from it
            kind = frame[12:14]
            if kind == b'\x08\0' and self.source in (None, frame[26:30]):
                head = (frame[14] & 15) * 4
                self.count += 1
                port = struct.unpack('>H', frame[16 + head:18 + head])[0] if frame[23] in (6, 17) else 0
                self.seen.add(({6: 'tcp', 17: 'udp'}.get(frame[23], str(frame[23])), socket.inet_ntoa(frame[30:34]), port))
            elif kind == b'\x86\xdd' and frame[20] in (6, 17):  # neighbour discovery is no leak
                self.seen.add(('v6', socket.inet_ntop(socket.AF_INET6, frame[38:54]), 0))

    def strangers(self, proxy):
        return sorted(self.seen - {('tcp', proxy.ip, proxy.port)})


class Proxies:
    def __init__(self, world, report):
        self.world, self.report = world, report
        # Any name that we ask for ourselves is asked on the bridge, where it is seen.
        path = os.path.join(world.dir, 'resolv.conf')
        with open(path, 'w') as file:
            file.write('nameserver %s\noptions timeout:1 attempts:1\n' % GATE)
        subprocess.run(['mount', '--bind', path, os.path.realpath('/etc/resolv.conf')], check=True)
        self.seeder = Source(world)
        self.tracker = Tracker(self.seeder)
        self.torrent, self.folder = reports.one_file(world, 'proxied', SIZE, announce=self.tracker.url())
        with open(self.torrent.path, 'rb') as file:
            self.tracker.torrent = file.read()
        self.seeder.seed(self.torrent, self.folder)

    def client(self, url, *options):
        # The seeder's address is a private one: a tracker by name may not send us there.
        named = [] if '--peer' in options else ['--peer', self.seeder.address]
        client = Spate(self.world, options=['--proxy', url, *named, *options])
        client.listens = False
        return client, Wire(client.host)

    def downloads(self, title, proxy, url, *options):
        client, wire = self.client(url, *options)
        out = self.world.folder('out')
        with client:
            client.leech(self.torrent, out)
            client.wait_complete(30)
            lines = data.differences(os.path.join(self.folder, self.torrent.name), os.path.join(out, self.torrent.name), False)
            self.report.claim(not lines, '%s: the download is right %s' % (title, lines))
            self.report.claim(not wire.strangers(proxy) and wire.count > 10, '%s: nothing of %d packets went past it %s'
                              % (title, wire.count, wire.strangers(proxy)))
            self.report.claim(client.ip not in self.tracker.clients, '%s: the tracker was not asked directly' % title)

    def without(self):
        """What looks at the wire does see what goes past a proxy."""
        client = Spate(self.world, options=['--peer', self.seeder.address])
        wire = Wire(client.host)
        with client:
            client.leech(self.torrent, self.world.folder('out'))
            client.wait_complete(30)
            wait_for('a name server is asked', lambda: ('udp', GATE, 53) in wire.seen, 10)
            self.report.claim(('tcp', self.seeder.ip, self.seeder.port) in wire.seen, 'without a proxy all is seen: %s'
                              % sorted(wire.seen))

    def interface(self):
        """The device that all is bound to goes, while another one would lead everywhere."""
        client = Spate(self.world, options=['--interface', 'eth0', '--peer', self.seeder.address, '--down', '512K'])
        client.listens = False
        number = client.host.ns[1:]
        ip = ['ip', '-n', client.host.ns]
        subprocess.run(['ip', 'link', 'add', 'w' + number, 'master', 'br0', 'up', 'type', 'veth', 'peer', 'name', 'eth1',
                        'netns', client.host.ns], check=True)
        subprocess.run([*ip, 'addr', 'add', '10.77.9.9/16', 'dev', 'eth1'], check=True)
        subprocess.run([*ip, 'link', 'set', 'eth1', 'up'], check=True)
        # Or eth1 answers for the address of eth0, and what the seeder sends comes in there.
        subprocess.run(client.host.argv(['sh', '-c', 'echo 1 >/proc/sys/net/ipv4/conf/all/arp_ignore']), check=True)
        with client:
            client.leech(self.torrent, self.world.folder('out'))
            wait_for('some of the download', lambda: any(e['have'] for e in client.events('progress')), 20, client.alive)
            other = Wire(client.host, 'w' + number)
            other.source = None
            subprocess.run([*ip, 'link', 'set', 'eth0', 'down'], check=True)
            said = client.wait_event('network', 10)
            time.sleep(4)
            self.report.claim('gone' in said['text'] and not [to for to in other.seen if to[0] in ('tcp', 'udp')],
                              'the interface goes: %s; by the other went %s' % (said['text'], sorted(other.seen)))
            subprocess.run([*ip, 'link', 'set', 'eth0', 'up'], check=True)
            client.wait_complete(60)
            self.report.claim(len(client.events('network')) == 2 and not [to for to in other.seen if to[0] == 'tcp'],
                              'it is back: the download ends, and no connection left by the other')

    def ip_filter(self):
        """Who is on the list is not dialled, and not taken when it comes."""
        path = os.path.join(self.world.dir, 'list.p2p')
        with open(path, 'w') as file:
            file.write('# lists\nthe seeder:%s-%s\n' % (self.seeder.ip, self.seeder.ip))
        client = Spate(self.world, options=['--peer', self.seeder.address, '--ip-filter', path])
        wire = Wire(client.host)
        with client:
            client.leech(self.torrent, self.world.folder('out'))
            wait_for('something is sent', lambda: wire.seen, 10, client.alive)
            time.sleep(3)
            self.report.claim(not [to for to in wire.seen if to[1] == self.seeder.ip], 'a listed peer is not dialled')
        with Spate(self.world) as other:
            with open(path, 'w') as file:
                file.write('%s/32\n' % other.ip)
            with Spate(self.world, options=['--ip-filter', path]) as client:
                client.seed(self.torrent, self.folder)
                client.wait_event('complete', 20)
                other.leech(self.torrent, self.world.folder('out'), '--peer', client.address)
                time.sleep(4)
                self.report.claim(not any(e['have'] for e in other.events('progress')), 'a listed peer is not served')
        with open(path, 'w') as file:
            file.write('1.2.3.4\nnonsense\n')
        with Spate(self.world, options=['--ip-filter', path]) as client:
            client.leech(self.torrent, self.world.folder('out'))
            status, text = client.process.wait(20), ' '.join(client.log_tail())
            self.report.claim(status == 2 and 'line 2' in text and 'state' not in text, 'a list that is none: %d, %s' % (status, text))

    def socks_names(self):
        with Proxy(self.world).run() as proxy:
            self.downloads('SOCKS5', proxy, 'socks5://%s:1080' % proxy.ip)
            want = {'%s:%d' % (NAME, self.tracker.port), self.seeder.address}
            self.report.claim(proxy.asked() == want, 'SOCKS5: it was asked for %s' % sorted(proxy.asked()))

    def socks_password(self):
        with Proxy(self.world).run('--user', 'me:se cret') as proxy:
            self.downloads('SOCKS5 with a password', proxy, 'socks5h://me:se%%20cret@%s' % proxy.ip)

    def http(self):
        with Proxy(self.world).run('--http', '--user', 'me:secret') as proxy:
            self.downloads('HTTP CONNECT', proxy, 'http://me:secret@%s:1080' % proxy.ip)
            self.report.claim(self.seeder.address in proxy.asked(), 'HTTP CONNECT: it was asked for the peer')

    def microsocks(self):
        if not shutil.which('microsocks'):
            self.report.note('microsocks is not installed')
            return
        torrent = self.torrent
        with Proxy(self.world) as proxy:
            proxy.run_program('microsocks', '-i', proxy.ip, '-p', '1080', '-u', 'me', '-P', 'secret')
            self.torrent = Torrent.write(os.path.join(self.world.dir, 'by-address.torrent'), torrent.info,
                                         self.tracker.url(GATE))
            self.downloads('microsocks', proxy, 'socks5://me:secret@' + proxy.ip)
        self.torrent = torrent

    def peer_by_name(self):
        with Proxy(self.world).run('--names', 'peer.test=' + self.seeder.ip) as proxy:
            self.downloads('a peer by name', proxy, 'socks5://' + proxy.ip, '--peer', 'peer.test:%d' % self.seeder.port)
            self.report.claim('peer.test:%d' % self.seeder.port in proxy.asked(), 'a peer by name: the proxy resolved it')

    def torrent_by_url(self):
        with Proxy(self.world).run() as proxy:
            client, wire = self.client('socks5://' + proxy.ip)
            out = self.world.folder('out')
            with client:
                client.start([PROGRAM, 'get', 'http://%s:%d/x.torrent' % (NAME, self.tracker.port), '--dir', out, '--no-state',
                              '--proxy', 'socks5://' + proxy.ip, '--json', '--peer', self.seeder.address])
                wait_for('spate ends', lambda: client.process.poll() is not None, 30)
                good = client.process.returncode == 0 and not wire.strangers(proxy)
                self.report.claim(good, 'a torrent by URL: %d, %s' % (client.process.returncode, wire.strangers(proxy)))

    def wrong_password(self):
        with Proxy(self.world).run('--user', 'me:secret') as proxy:
            client, wire = self.client('socks5://me:wrong@' + proxy.ip)
            with client:
                client.leech(self.torrent, self.world.folder('out'))
                said = client.wait_event('network', 20)
                time.sleep(1)
                self.report.claim('refuses the user or password' in said['text'] and not wire.strangers(proxy) and
                                  len(client.events('network')) == 1, 'a wrong password: %s' % said['text'])

    def dead_proxy(self):
        proxy = Proxy(self.world)
        client, wire = self.client('socks5://' + proxy.ip, '--down', '1M')
        with proxy, client:
            out = self.world.folder('out')
            client.leech(self.torrent, out)
            said = client.wait_event('network', 20)
            self.report.claim('nothing goes out' in said['text'], 'a dead proxy: %s' % said['text'])
            proxy.run()
            wait_for('it goes on', lambda: len(client.events('network')) == 2, 20, client.alive)
            wait_for('some of the download', lambda: any(e['have'] for e in client.events('progress')), 20, client.alive)
            proxy.world.reap(proxy.process)
            proxy.process = None
            wait_for('it is down again', lambda: len(client.events('network')) == 3, 30, client.alive)
            proxy.run()
            client.wait_complete(60)
            self.report.claim(not wire.strangers(proxy), 'a proxy that comes and goes: the download ends, and nothing '
                              'went past it %s' % wire.strangers(proxy))

    def udp_tracker(self):
        with Proxy(self.world).run() as proxy:
            client, wire = self.client('socks5://' + proxy.ip, '--tracker', 'udp://%s:6969/announce' % GATE, '--tracker',
                                       'udp://name.test:6969/announce')
            with client:
                client.leech(self.torrent, self.world.folder('out'))
                client.wait_complete(30)
                text = ' '.join(e.get('text', '') for e in client.events('tracker'))
                self.report.claim('UDP' in text and not wire.strangers(proxy), 'a UDP tracker: no datagram leaves: %s' % text)

    def no_listening(self):
        with Proxy(self.world).run() as proxy:
            client, wire = self.client('socks5://' + proxy.ip, '--seed')
            with client:
                client.leech(self.torrent, self.world.folder('out'))
                client.wait_complete(30)
                said = subprocess.run(client.host.argv(['ss', '-Hlntu']), stdout=subprocess.PIPE, check=True).stdout
                self.report.claim(not said.strip() and not wire.strangers(proxy), 'nothing listens: %r' % said)


ALL = [name for name, f in vars(Proxies).items() if not name.startswith('_') and name not in ('client', 'downloads')]


def body(world, report, args):
    proxies = Proxies(world, report)
    for name in [args.only] if args.only else ALL:
        getattr(proxies, name)()


if __name__ == '__main__':
    sys.exit(reports.main(__doc__, 'proxy', body, (['--only'], {'choices': ALL})))
