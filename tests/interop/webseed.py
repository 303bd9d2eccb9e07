"""Web seeds: downloads from nginx and from servers that go wrong in every way.

usage: webseed.py [--quick] [--only NAME]
"""
import http.server
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.parse

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import data
import report as reports
from bcode import Torrent, encode, make_info
from peers.source import Source
from peers.spate import Spate
from world import GATE, wait_for

NGINX = '''daemon off; master_process off; worker_processes 1; user root;
pid {dir}/pid; error_log {dir}/error.log;
events {{ worker_connections 256; }}
http {{
    access_log {dir}/access.log; sendfile on; keepalive_requests 100000;
    client_body_temp_path {dir}/t; proxy_temp_path {dir}/t; fastcgi_temp_path {dir}/t;
    uwsgi_temp_path {dir}/t; scgi_temp_path {dir}/t;
    server {{ listen {ip}:{port}; root "{root}"; }}
}}
'''


class Nginx:
    def __init__(self, world, root, ip=GATE, port=8080):
        self.world, self.dir = world, world.folder('nginx')
        self.url = 'http://%s:%d/' % (ip, port)
        with open(self.conf(), 'w') as file:
            file.write(NGINX.format(dir=self.dir, root=root, ip=ip, port=port))
        self.start()

    def conf(self):
        return os.path.join(self.dir, 'nginx.conf')

    def start(self):
        self.process = self.world.popen(['nginx', '-p', self.dir, '-c', self.conf()], os.path.join(self.dir, 'log'))
        wait_for('nginx listens', lambda: subprocess.run(['curl', '-s', '-o', '/dev/null', self.url]).returncode == 0, 10)

    def stop(self):
        self.world.reap(self.process, signal.SIGTERM)

    def requests(self):
        with open(os.path.join(self.dir, 'access.log')) as file:
            return [l for l in file if 'Spate/' in l]


class Bad:
    """A server of files below root that does `how` to each request; counts them."""

    def __init__(self, root, how, torrent=None, folder=None):
        bad = self
        self.how, self.count, self.lock = how, 0, threading.Lock()

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = 'HTTP/1.1'

            def log_message(self, *_):
                pass

            def do_GET(self):
                with bad.lock:
                    bad.count += 1
                    number = bad.count
                if torrent:
                    body, head, status = bad.seed(self.path, torrent, folder), {}, 200
                else:
                    body, head, status = bad.file(self.path, self.headers.get('Range'), root)
                bad.how(self, number, status, head, body)

        self.server = http.server.ThreadingHTTPServer((GATE, 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = 'http://%s:%d/' % self.server.server_address

    @staticmethod
    def file(path, asked, root):
        with open(os.path.join(root, urllib.parse.unquote(path).lstrip('/').removeprefix('away/')), 'rb') as file:
            whole = file.read()
        match = re.fullmatch(r'bytes=(\d+)-(\d+)', asked or '')
        if not match:
            return whole, {}, 200
        first, last = int(match[1]), min(int(match[2]), len(whole) - 1)
        return whole[first:last + 1], {'Content-Range': 'bytes %d-%d/%d' % (first, last, len(whole))}, 206

    @staticmethod
    def seed(path, torrent, folder):
        """BEP 17."""
        asked = urllib.parse.parse_qs(urllib.parse.urlsplit(path).query, encoding='latin-1')
        assert asked['info_hash'][0].encode('latin-1') == torrent.hash
        piece = int(asked['piece'][0])
        whole = torrent.read(folder, piece * torrent.piece_length, torrent.piece_len(piece))
        if 'ranges' not in asked:
            return whole
        parts = [p.split('-') for p in asked['ranges'][0].split(',')]
        return b''.join(whole[int(a):int(b) + 1] for a, b in parts)

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


def answer(handler, status, head, body, cut=None):
    handler.send_response(status)
    for name, value in head.items():
        handler.send_header(name, value)
    handler.send_header('Content-Length', str(len(body)))
    handler.end_headers()
    handler.wfile.write(body[:cut] if cut is not None else body)
    if cut is not None:
        handler.close_connection = True


def good(handler, number, status, head, body):
    answer(handler, status, head, body)


def missing(handler, number, status, head, body):
    answer(handler, 404, {}, b'none here')


def busy(handler, number, status, head, body):
    if number <= 2:
        answer(handler, 503, {'Retry-After': '2'}, b'later')
    else:
        answer(handler, status, head, body)


def busy17(handler, number, status, head, body):
    if number <= 2:
        answer(handler, 503, {}, b'2')
    else:
        answer(handler, status, head, body)


def cuts(handler, number, status, head, body):
    answer(handler, status, head, body, 300000)


def corrupts(handler, number, status, head, body):
    answer(handler, status, head, bytes(b ^ 1 for b in body))


def whole_only(handler, number, status, head, body):
    with open(os.path.join(handler.server.root, handler.path.lstrip('/')), 'rb') as file:
        answer(handler, 200, {}, file.read())


def other_size(handler, number, status, head, body):
    head = {k: re.sub('/.*', '/99999999', v) for k, v in head.items()}
    answer(handler, status, head, body)


def hops(handler, number, status, head, body):
    if handler.path.startswith('/away/'):
        answer(handler, 302, {'Location': handler.path[5:]}, b'')
    else:
        answer(handler, status, head, body)


class Cases:
    def __init__(self, world, report, args):
        self.world, self.report = world, report
        self.size = (64 if args.quick else 1024) * data.MIB
        self.torrent, self.folder = reports.one_file(world, 'file', 12 * data.MIB)

    def get(self, torrent, folder, name, *options, seconds=60, wanted=0, during=None):
        """One download; claims what it ends with.  Gives the warnings."""
        out = self.world.folder('out')
        with Spate(self.world, options=options) as peer:
            peer.leech(torrent, out)
            wrong = []
            try:
                if during:
                    during(peer)
                peer.wait_complete(seconds)
            except Exception as error:
                wrong.append(str(error))
            wrong += data.differences(os.path.join(folder, torrent.name), os.path.join(out, torrent.name))
            if not self.report.claim(not wrong, name + ''.join(': ' + w for w in wrong[:5])):
                self.report.tail(peer)
            said = [e['text'] for e in peer.events('warning')]
        for text in said[:4]:
            self.report.note(text)
        return said

    def nginx_one(self):
        torrent, folder = reports.one_file(self.world, 'big', self.size, data.MIB)
        server = Nginx(self.world, folder)

        def restart(peer):
            wait_for('a third', lambda: any(e.get('have', 0) > self.size / 3 or e.get('downloaded', 0) > self.size / 3
                                            for e in peer.events('progress')), 60, peer.alive)
            server.stop()
            time.sleep(1.5)
            server.start()
        self.get(torrent, folder, '%d MiB from nginx, which is restarted midway' % (self.size / data.MIB),
                 '--down', '%dM' % (self.size / data.MIB / 4), '--web-seed', server.url, during=restart, seconds=120)
        self.report.note('%d requests' % len(server.requests()))
        self.get(torrent, folder, 'the URL of the file itself, unlimited', '--web-seed', server.url + torrent.name)
        server.stop()

    def nginx_many(self):
        folder = self.world.folder('data')
        top = data.make_many(folder, 'many files', 2)
        info = make_info(top, 32 * data.KIB)
        torrent = Torrent.write(os.path.join(self.world.dir, 'many.torrent'), info)
        server = Nginx(self.world, folder, port=8081)
        said = self.get(torrent, folder, '300 files with odd names from nginx', '--web-seed', server.url)
        self.report.claim(not said, 'without a warning')
        self.get(torrent, folder, 'the same in order, URL without a slash', '--sequential', '--web-seed', server.url[:-1])
        server.stop()

    def beside(self, how, name, expect, solo=False, path='', torrent=None, **options):
        """A bad server, and a good peer beside it (but for solo)."""
        torrent = torrent or self.torrent
        server = Bad(self.folder, how, **options)
        server.server.root = self.folder
        peers = []
        if not solo:
            source = Source(self.world, up=6 * data.MIB)
            source.seed(torrent, self.folder)
            peers = ['--peer', source.address]
        said = self.get(torrent, self.folder, name, '--web-seed', server.url + path, *peers)
        if expect:
            self.report.claim(any(expect in s for s in said), 'it says "%s"' % expect)
        if not solo:
            source.stop()
        server.stop()
        return server.count

    def errors(self):
        count = self.beside(missing, 'a server without the file, beside a peer', 'does not have it; not used any more')
        self.report.claim(count <= 4, 'it is asked %d times' % count)
        self.beside(whole_only, 'a server without ranges', None)
        self.beside(other_size, 'a server with another file', 'another size; not used any more')
        self.beside(corrupts, 'a server with corrupt data, beside a peer', 'sends corrupt data; not used any more')
        self.beside(busy, 'a busy server', 'is busy; asked again in 2 s', solo=True)
        self.beside(cuts, 'a server that ends each answer early', 'ends early', solo=True)
        self.beside(hops, 'a server that redirects', None, solo=True, path='away/')

    def mixed(self):
        server = Bad(self.folder, good)
        source = Source(self.world, up=data.MIB)
        source.seed(self.torrent, self.folder)
        self.get(self.torrent, self.folder, 'a web seed and a peer', '--web-seed', server.url, '--peer', source.address,
                 '--down', '4M')
        self.report.claim(server.count > 0 and source.stats()['sent'] > 0, 'both gave something: %d requests, %d bytes'
                          % (server.count, source.stats()['sent']))
        source.stop()
        server.stop()

    def named(self, key, url, announce=None):
        path = os.path.join(self.world.dir, 'named.torrent')
        with open(path, 'wb') as file:
            file.write(encode({'info': self.torrent.info, key: [url]}))
        return Torrent(path)

    def httpseeds(self):
        """What only a torrent can name has to be at a public address: this one is on lo, in our namespace."""
        host = self.world.host()
        subprocess.run(['ip', 'addr', 'add', '93.184.216.34/32', 'dev', 'br0'], check=True)
        subprocess.run(['ip', '-n', host.ns, 'route', 'add', '93.184.216.34/32', 'dev', 'eth0'], check=True)
        for how, name in ((good, 'BEP 17'), (busy17, 'BEP 17, busy at first')):
            server = Bad(self.folder, how, self.torrent, self.folder)
            server.server.socket.close()
            server.server.socket = __import__('socket').create_server(('93.184.216.34', 0))
            server.url = 'http://93.184.216.34:%d/seed.php' % server.server.socket.getsockname()[1]
            torrent = self.named('httpseeds', server.url)
            said = self.get(torrent, self.folder, name)
            if how is busy17:
                self.report.claim(any('asked again in 2 s' in s for s in said), 'it waits as long as it is told')
            server.stop()

    def local(self):
        server = Bad(self.folder, good)
        torrent = self.named('url-list', server.url)
        out = self.world.folder('out')
        with Spate(self.world) as peer:
            peer.leech(torrent, out)
            wait_for('a refusal', lambda: any('private' in e['text'] for e in peer.events('warning')), 20, peer.alive)
        self.report.claim(server.count == 0, 'a torrent does not make us ask private addresses')
        server.stop()


def body(world, report, args):
    cases = Cases(world, report, args)
    for name in ('nginx_one', 'nginx_many', 'errors', 'mixed', 'httpseeds', 'local'):
        if not args.only or args.only == name:
            try:
                getattr(cases, name)()
            except Exception as error:
                report.claim(False, '%s: %s: %s' % (name, type(error).__name__, error))


if __name__ == '__main__':
    sys.exit(reports.main(__doc__, 'webseed', body, (['--quick'], {'action': 'store_true'}), (['--only'], {})))
