"""Raw-socket peers that misbehave towards our seed.  It goes on serving an honest one, in bounded memory.

usage: hostile_peers.py [NAME...] [--quick] [--self CLIENT]
Each attack runs while an honest leecher downloads some pieces and checks their hashes.  `closes` attacks
must be answered by a closed connection; the others may be.  --quick leaves out those that wait for the
handshake's time limit.
"""
import hashlib
import os
import random
import socket
import struct
import sys
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import data
import report as reports
from peers import ALL
from world import run

SIZE = 24 * data.MIB
MEMORY = 160 * data.MIB  # budget of 64 MiB, the program itself, and some
HANDSHAKE_S = 45         # by then a handshake that does not end is given up
CONNS = 50


class Raw:
    """A connection of the attacker, each from an address of its own."""
    number = 0

    def __init__(self, target, source=None):
        Raw.number += 1
        self.sock = socket.socket()
        self.sock.bind(('10.77.99.%d' % (1 + Raw.number % 250), 0))
        self.sock.settimeout(10)
        self.sock.connect(target)

    def handshake(self, info_hash, reserved=bytes(8)):
        self.sock.sendall(b'\x13BitTorrent protocol' + reserved + info_hash + b'-HP0001-' + os.urandom(12))
        return self

    def message(self, kind, body=b''):
        self.sock.sendall(struct.pack('>IB', 1 + len(body), kind) + body)
        return self

    def send(self, bytes_):
        self.sock.sendall(bytes_)
        return self

    def closed(self, seconds):
        """Whether the other side closes within so many seconds; what it says is thrown away."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.sock.settimeout(left)
            try:
                if not self.sock.recv(1 << 16):
                    return True
            except TimeoutError:
                return False
            except OSError:
                return True
        return False


class Honest:
    """A leecher by hand: downloads the given pieces and checks them."""

    def __init__(self, target, torrent):
        self.torrent = torrent
        self.raw = Raw(target).handshake(torrent.hash)
        self.raw.sock.settimeout(45)
        self.file = self.raw.sock.makefile('rb')
        if self.read(68)[28:48] != torrent.hash:
            raise ConnectionError('wrong handshake')
        self.raw.message(2)

    def read(self, count):
        got = self.file.read(count)
        if len(got) < count:
            raise ConnectionError('closed')
        return got

    def next(self):
        length, = struct.unpack('>I', self.read(4))
        body = self.read(length)
        return (body[0], body[1:]) if body else (None, b'')

    def until(self, kind):
        while True:
            got, body = self.next()
            if got == kind:
                return body

    def get(self, pieces):
        self.until(1)
        for piece in pieces:
            parts = {}
            length = self.torrent.piece_len(piece)
            for begin in range(0, length, 16384):
                self.raw.message(6, struct.pack('>III', piece, begin, min(16384, length - begin)))
            while len(parts) * 16384 < length:
                body = self.until(7)
                index, begin = struct.unpack('>II', body[:8])
                if index == piece:
                    parts[begin] = body[8:]
            whole = b''.join(parts[b] for b in sorted(parts))
            if hashlib.sha1(whole).digest() != self.torrent.pieces[20 * piece:20 * piece + 20]:
                raise ValueError('piece %d is wrong' % piece)
        self.raw.sock.close()


def closes(seconds):
    def mark(attack):
        attack.seconds = seconds
        return attack
    return mark


class Attacks:
    """Each gives the connections it made; they are kept open until the honest one is served."""

    def __init__(self, target, torrent, rng):
        self.target, self.torrent, self.rng = target, torrent, rng

    def met(self, reserved=bytes(8)):
        return Raw(self.target).handshake(self.torrent.hash, reserved)

    @closes(15)
    def wrong_info_hash(self):
        return [Raw(self.target).handshake(self.rng.randbytes(20)) for _ in range(CONNS)]

    @closes(15)
    def not_the_protocol(self):
        return [Raw(self.target).send(b'\x13BitTorrent protocoL' + self.rng.randbytes(48)) for _ in range(CONNS)]

    @closes(15)
    def oversized_message(self):
        """A length of 2^31 and as much of it as the other side takes."""
        raws = [self.met() for _ in range(8)]
        for raw in raws:
            try:
                raw.send(struct.pack('>IB', 1 << 31, 7))
                for _ in range(64):
                    raw.send(bytes(1 << 18))
            except OSError:
                pass
        return raws

    @closes(15)
    def longest_length(self):
        return [self.met().send(b'\xff' * 4) for _ in range(CONNS)]

    @closes(15)
    def bitfield_too_long(self):
        return [self.met().message(5, b'\xff' * (len(self.torrent.pieces) // 160 + 40)) for _ in range(CONNS)]

    @closes(15)
    def have_out_of_range(self):
        return [self.met().message(4, struct.pack('>I', index))
                for index in (self.torrent.piece_count, 1 << 31, (1 << 32) - 1)]

    @closes(15)
    def wrong_length_of_fixed_messages(self):
        return [self.met().message(kind, body) for kind, body in
                ((0, b'x'), (1, b'xx'), (2, b'x' * 100), (4, b'abc'), (6, b'x' * 11), (8, b'x' * 13))]

    def request_out_of_range(self):
        """Indices, offsets and lengths of no block, incl. sums that wrap."""
        raws = []
        for ask in ((self.torrent.piece_count, 0, 16384), ((1 << 32) - 1, 0, 16384), (0, (1 << 32) - 1, 16384),
                    (0, 0, 0), (0, 0, 1 << 20), (0, 0, (1 << 32) - 1), (0, self.torrent.piece_length, 1),
                    (self.torrent.piece_count - 1, 0, self.torrent.piece_length + 1),
                    (0, (1 << 32) - 16384, 16384 * 2)):
            raw = self.met().message(2)
            raw.message(6, struct.pack('>III', *ask))
            raws.append(raw)
        return raws

    def request_flood(self):
        """Requests without end and nothing read: the answers must not pile up."""
        raws = [self.met().message(2) for _ in range(20)]
        time.sleep(1)
        asks = b''.join(struct.pack('>IBIII', 13, 6, self.rng.randrange(self.torrent.piece_count), 0, 16384)
                        for _ in range(2000))
        for raw in raws:
            raw.sock.settimeout(0.5)
            try:
                for _ in range(20):
                    raw.send(asks)
            except OSError:
                pass
        return raws

    @closes(15)
    def unread_rejects(self):
        """Each of these requests has to be answered (BEP 6) and no answer is read."""
        raws = [self.met(bytes((0, 0, 0, 0, 0, 0, 0, 4))) for _ in range(4)]
        asks = struct.pack('>IBIII', 13, 6, 0, 0, 16384) * 2000
        for raw in raws:
            raw.sock.settimeout(1)
            try:
                for _ in range(400):
                    raw.send(asks)
            except OSError:
                pass
        return raws

    def cancel_and_have_flood(self):
        raws = [self.met() for _ in range(8)]
        junk = b''.join(struct.pack('>IBIII', 13, 8, i % self.torrent.piece_count, 0, 16384) for i in range(2000))
        junk += b''.join(struct.pack('>IBI', 5, 4, i % self.torrent.piece_count) for i in range(2000)) + bytes(4000)
        for raw in raws:
            raw.sock.settimeout(2)
            try:
                for _ in range(20):
                    raw.send(junk)
            except OSError:
                pass
        return raws

    def interest_flip(self):
        raws = [self.met() for _ in range(8)]
        for raw in raws:
            try:
                raw.send(struct.pack('>IBIB', 1, 2, 1, 3) * 20000)
            except OSError:
                pass
        return raws

    def unasked_pieces(self):
        raws = [self.met() for _ in range(8)]
        for raw in raws:
            try:
                for _ in range(200):
                    raw.message(7, struct.pack('>II', 0, 0) + bytes(16384))
            except OSError:
                pass
        return raws

    def extension_rubbish(self):
        """BEP 10 handshakes that are no dictionaries, deep ones, huge ones, unknown ids."""
        reserved = bytes((0, 0, 0, 0, 0, 0x10, 0, 4))
        bodies = (b'\x00', b'\x00i1e', b'\x00' + b'l' * 30000, b'\x00d1:md11:ut_metadatai-1eee',
                  b'\x00d1:md0:i300eee', b'\x00d4:reqqi99999999999999999999ee', b'\x00d1:v60000:' + b'v' * 60000 + b'e',
                  b'\xc8abc', b'\x00' + b'd1:v4:\x1b[2Je')
        return [self.met(reserved).message(20, body) for body in bodies]

    def random_messages(self):
        raws = [self.met(bytes((0, 0, 0, 0, 0, 0x10, 0, 4))) for _ in range(CONNS)]
        for raw in raws:
            try:
                for _ in range(50):
                    raw.message(self.rng.randrange(24), self.rng.randbytes(self.rng.randrange(40)))
            except OSError:
                pass
        return raws

    def reset_while_served(self):
        raws = [self.met().message(2) for _ in range(CONNS)]
        time.sleep(0.5)
        for raw in raws:
            try:
                for index in range(30):
                    raw.message(6, struct.pack('>III', index % self.torrent.piece_count, 0, 16384))
            except OSError:
                pass
            raw.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
            raw.sock.close()
        return []

    @closes(HANDSHAKE_S)
    def half_handshake(self):
        return [Raw(self.target).send((b'\x13BitTorrent protocol' + bytes(8))[:n % 29]) for n in range(CONNS)]

    @closes(HANDSHAKE_S)
    def slow_handshake(self):
        """A byte a second."""
        raws = [Raw(self.target) for _ in range(10)]
        whole = b'\x13BitTorrent protocol' + bytes(8) + self.torrent.hash + bytes(20)

        def drip():
            for at in range(len(whole)):
                for raw in raws:
                    try:
                        raw.send(whole[at:at + 1])
                    except OSError:
                        pass
                time.sleep(1)
        threading.Thread(target=drip, daemon=True).start()
        return raws


ALL_ATTACKS = [n for n in vars(Attacks) if not n.startswith('_') and n != 'met']


def attack(name, seed, torrent, report, rng):
    target = (seed.ip, seed.port)
    method = getattr(Attacks(target, torrent, rng), name)
    wrong, raws = [], []
    try:
        raws = method()
    except OSError as error:
        wrong.append('the attack itself: %s' % error)
    began = time.monotonic()
    try:
        Honest(target, torrent).get([rng.randrange(torrent.piece_count) for _ in range(8)])
    except Exception as error:
        wrong.append('the honest one: %s: %s' % (type(error).__name__, error))
    served = time.monotonic() - began
    seconds = getattr(method, 'seconds', 0)
    end = time.monotonic() + seconds
    still_open = sum(not raw.closed(max(0.05, end - time.monotonic())) for raw in raws)
    for raw in raws:
        raw.sock.close()
    if seconds and still_open:
        wrong.append('%d of %d connections are open after %d s' % (still_open, len(raws), seconds))
    if seed.process.poll() is not None:
        wrong.append('the seed ended with %d' % seed.process.returncode)
    peak = seed.memory() if seed.process.poll() is None else 0
    if peak > MEMORY:
        wrong.append('%.0f MiB of memory' % (peak / data.MIB))
    report.claim(not wrong, '%s: honest one served in %.1f s, %d of %d closed, peak %.0f MiB'
                 % (name.replace('_', ' '), served, len(raws) - still_open, len(raws), peak / data.MIB))
    for line in wrong:
        report.note(line)
    return seed.process.poll() is None


def body(world, report, args):
    rng = random.Random(5)
    for number in range(1, 251):
        run('ip', 'addr', 'add', '10.77.99.%d/16' % number, 'dev', 'br0')
    torrent, folder = reports.one_file(world, 'hostile', SIZE)
    with ALL[args.ours](world) as seed:
        seed.seed(torrent, folder)
        seed.wait_port()
        # The listener may be up before the data is checked.
        for _ in range(60):
            try:
                Honest((seed.ip, seed.port), torrent).get([0])
                break
            except OSError:
                time.sleep(0.5)
        quick = [n for n in ALL_ATTACKS if getattr(getattr(Attacks, n), 'seconds', 0) < HANDSHAKE_S]
        for name in args.names or (quick if args.quick else ALL_ATTACKS):
            if not attack(name.replace('-', '_'), seed, torrent, report, rng):
                report.tail(seed)
                break


if __name__ == '__main__':
    sys.exit(reports.main(__doc__, 'hostile-peers', body, (['names'], {'nargs': '*'}),
                          (['--quick'], {'action': 'store_true'})))
