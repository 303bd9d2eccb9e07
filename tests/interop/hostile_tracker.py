"""Trackers that answer nonsense.  The program survives, says so in one line, and finishes through --peer.

usage: hostile_tracker.py [NAME...]
"""
import os
import random
import socket
import struct
import sys
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import data
import report as reports
from bcode import Torrent, encode
from peers.source import Source
from peers.spate import Spate
from world import GATE

SIZE, RATE = 6 * data.MIB, 2 * data.MIB
MEMORY = 160 * data.MIB  # budget of 64 MiB, the program itself, and some
BODY_MAX = 16 * data.MIB  # of an endless body; socket buffers included
GIB = 1 << 30


def bomb():
    """1 GiB of zeros, 1 MiB of gzip."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    zeros = bytes(data.MIB)
    return b''.join(packer.compress(zeros) for _ in range(1024)) + packer.flush()


PLAIN = {  # path: body of a 200
    'html': b'<!DOCTYPE html><html><body><h1>It works!</h1></body></html>',
    'empty': b'',
    'failure': encode({'failure reason': 'this torrent is not served here'}),
    'failure-controls': encode({'failure reason': b'\x1b[2J\x1b]0;owned\x07line\nmore\r!'}),
    'a-list': b'li1ei2ee',
    'an-integer': b'i42e',
    'cut': b'd8:intervali1800e5:peers600:\x7f\0\0\1',
    'length-overflow': b'd8:intervali1800e5:peers99999999999999999999:e',
    'negative-interval': b'd8:intervali-5e5:peers0:e',
    'huge-interval': b'd8:intervali99999999999999999e5:peers0:e',
    'peers-as-integer': b'd8:intervali1800e5:peersi7ee',
    'peers-of-5-bytes': b'd8:intervali1800e5:peers5:abcdee',
    'deep': b'l' * 100000 + b'e' * 100000,
    'port-0-and-loopback': b'd8:intervali1800e5:peers18:\x7f\0\0\1\0\0\x7f\0\0\1\0\x16\xff\xff\xff\xff\1\1e',
}
# No complaint is owed within the few seconds of the download: the answer is well-formed enough, or what
# came is no answer yet.
NO_COMPLAINT = {'port-0-and-loopback', 'negative-interval', 'huge-interval', 'peers-of-5-bytes',
                'peers-as-integer', 'udp-lying-count', 'never', 'drip', 'udp-silent', 'udp-random', 'udp-short',
                'udp-wrong-transaction'}
OTHERS = ('1-gib', 'gzip-bomb', 'redirect-loop', 'redirect-to-file', 'status-500', 'headers-without-end',
          'closed-at-once', 'never', 'drip')
UDP = ('udp-random', 'udp-short', 'udp-wrong-transaction', 'udp-error', 'udp-error-controls', 'udp-lying-count',
       'udp-silent')


class Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.close_connection = True
        name = self.path.split('?')[0].split('/')[1]
        self.server.asked.add(name)
        try:
            if name in PLAIN:
                self.reply(200, PLAIN[name])
            else:
                getattr(self, name.replace('-', '_').replace('1_gib', 'endless'))()
        except OSError:
            pass

    def reply(self, status, body, **headers):
        self.send_response(status)
        for key, value in {'Content-Length': str(len(body)), **headers}.items():
            self.send_header(key.replace('_', '-'), value)
        self.end_headers()
        self.wfile.write(body)

    def endless(self):
        self.send_response(200)
        self.send_header('Content-Length', str(GIB))
        self.end_headers()
        self.wfile.write(b'd8:intervali1800e5:peers%d:' % (GIB - 30))
        chunk = bytes(1 << 16)
        for _ in range(GIB >> 16):
            self.wfile.write(chunk)
            self.server.sent += len(chunk)

    def gzip_bomb(self):
        self.reply(200, self.server.bomb, Content_Encoding='gzip')

    def redirect_loop(self):
        self.reply(302, b'', Location='http://%s:%d%s' % (*self.server.server_address, self.path))

    def redirect_to_file(self):
        self.reply(302, b'', Location='file:///etc/passwd')

    def status_500(self):
        self.reply(500, b'oh no')

    def headers_without_end(self):
        self.wfile.write(b'HTTP/1.1 200 OK\r\n')
        for index in range(1 << 20):
            self.wfile.write(b'X-Header-%d: %s\r\n' % (index, b'x' * 1000))
            self.server.sent += 1000

    def closed_at_once(self):
        self.connection.shutdown(socket.SHUT_RDWR)

    def never(self):
        time.sleep(60)

    def drip(self):
        self.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n')
        for _ in range(60):
            self.wfile.write(b'd')
            time.sleep(1)


def udp_server(name, sock, asked):
    """Answers every datagram as `name` says; to connects rightly where the fault is in the announce."""
    rng = random.Random(name)
    while True:
        try:
            packet, address = sock.recvfrom(2048)
        except OSError:
            return
        asked.add(name)
        if name == 'udp-silent' or len(packet) < 16:
            continue
        action, transaction = struct.unpack('>I4s', packet[8:16])
        if name == 'udp-random':
            for _ in range(20):
                sock.sendto(rng.randbytes(rng.randrange(1, 1400)), address)
        elif name == 'udp-short':
            for length in range(16):
                sock.sendto(struct.pack('>I4sQ', action, transaction, 7)[:length], address)
        elif name == 'udp-wrong-transaction':
            sock.sendto(struct.pack('>I4sQ', action, bytes(b ^ 1 for b in transaction), 7), address)
        elif name == 'udp-error':
            sock.sendto(struct.pack('>I4s', 3, transaction) + b'not served here', address)
        elif name == 'udp-error-controls':
            sock.sendto(struct.pack('>I4s', 3, transaction) + b'\x1b[2J\x07line\nmore' + b'x' * 1300, address)
        elif action == 0:
            sock.sendto(struct.pack('>I4sQ', 0, transaction, 7), address)
        else:  # udp-lying-count: 2^32-1 peers in a packet of one and a half
            sock.sendto(struct.pack('>I4sIII', 1, transaction, 1800, 0xffffffff, 0xffffffff) + b'\xff' * 9, address)


def one(world, report, lock, name, http, udp, source, base, folder):
    if name in UDP:
        url = 'udp://%s:%d/announce' % (GATE, udp[name])
    else:
        url = 'http://%s:%d/%s/announce' % (*http.server_address, name)
    torrent = Torrent.write(os.path.join(world.dir, name + '.torrent'), base.info, url)
    out, wrong, peak = world.folder('out'), [], 0
    asked = http.asked if name not in UDP else udp['asked']
    with Spate(world, options=['--peer', source.address]) as peer:
        peer.leech(torrent, out)
        end = time.monotonic() + 60
        while peer.process.poll() is None and time.monotonic() < end:
            try:
                peak = max(peak, peer.memory())
            except (OSError, AttributeError):
                break
            time.sleep(0.02)
        try:
            peer.wait_complete(5)
        except Exception as error:
            wrong.append(str(error))
        if not wrong:
            wrong += data.differences(os.path.join(folder, base.name), os.path.join(out, base.name))
        if peak > MEMORY:
            wrong.append('took %.0f MiB of memory' % (peak / data.MIB))
        if name not in asked:
            wrong.append('the tracker was never asked')
        said = [e for e in peer.events('tracker')]
        text = [str(e.get('text', '')) for e in said]
        if name not in NO_COMPLAINT and not text:
            wrong.append('says nothing about the tracker')
        if any(ord(c) < 32 or ord(c) == 127 for t in text for c in t):
            wrong.append('passes control characters on')
        if any(len(t) > 300 for t in text):
            wrong.append('says it in more than a line')
        tail = peer.log_tail() if wrong else []
    with lock:
        report.claim(not wrong, '%s: finishes, %.0f MiB, says %s' % (name, peak / data.MIB, text[-1:] or 'nothing'))
        for line in wrong + tail:
            report.note(line)


def body(world, report, args):
    base, folder = reports.one_file(world, 'hostile', SIZE)
    http = ThreadingHTTPServer((GATE, 8000), Handler)
    http.daemon_threads, http.asked, http.sent, http.bomb = True, set(), 0, bomb()
    threading.Thread(target=http.serve_forever, daemon=True).start()
    udp = {'asked': set()}
    for name in UDP:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((GATE, 0))
        udp[name] = sock.getsockname()[1]
        threading.Thread(target=udp_server, args=(name, sock, udp['asked']), daemon=True).start()
    lock = threading.Lock()
    names = args.names or [*PLAIN, *OTHERS, *UDP]

    def case(name):
        with Source(world, up=RATE) as source:
            source.seed(base, folder)
            one(world, report, lock, name, http, udp, source, base, folder)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(case, names))
    report.claim(http.sent <= BODY_MAX * 2, 'of endless answers it took %.1f MiB' % (http.sent / data.MIB))
    http.shutdown()


if __name__ == '__main__':
    sys.exit(reports.main(__doc__, 'hostile-tracker', body, (['names'], {'nargs': '*'})))
