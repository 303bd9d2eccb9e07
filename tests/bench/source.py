"""A seeder that only sends: it answers every request of a one-file torrent, hashes nothing, chokes nobody.

usage: source.py HOST PORT TORRENT FILE [--corrupt P] [--up RATE] [--fast] [--seed N] [--stats OUT] [--asked]
HOST 0.0.0.0 answers on every address there is: one process is 200 sources at 127.0.0.2-201.
--corrupt P  flips one bit of a served block with probability P
--up RATE    bytes a second over all connections
--fast       speak BEP 6 (have all)
--stats OUT  keeps OUT up to date: one JSON object {sent, blocks, corrupted, connections, first, last};
             first and last are monotonic times of the first request and the last byte sent
--asked      the stats also hold `asked`: for each connection the pieces it asked for
"""
import argparse
import json
import mmap
import os
import random
import selectors
import signal
import socket
import struct
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'interop'))
from bcode import Torrent

REQUEST = struct.Struct('>IBIII')
PIECE = struct.Struct('>IBII')
IOV = 512  # of 1024 the kernel takes
READ, WRITE = selectors.EVENT_READ, selectors.EVENT_READ | selectors.EVENT_WRITE


class Conn:
    def __init__(self, sock):
        self.sock, self.got, self.known = sock, b'', False
        self.out, self.head, self.writing = [], 0, False
        self.asked = set()


class Source:
    def __init__(self, args):
        self.args, self.torrent = args, Torrent(args.torrent)
        file = open(args.file, 'rb')
        self.data = memoryview(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ))
        self.rng = random.Random(args.seed)
        self.stats = {'sent': 0, 'blocks': 0, 'corrupted': 0, 'connections': 0, 'first': 0, 'last': 0}
        self.tokens, self.filled = 0.0, time.monotonic()
        self.select = selectors.DefaultSelector()
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind((args.host, args.port))
        self.listener.listen(1000)
        self.listener.setblocking(False)
        self.select.register(self.listener, READ)
        self.waiting = []  # connections the rate limit holds back
        self.asked = []
        self.ending = False
        signal.signal(signal.SIGTERM, self.end)

    def end(self, *_):
        self.ending = True

    def greeting(self):
        reserved = bytearray(8)
        count = self.torrent.piece_count
        bits = bytearray(b'\xff' * ((count + 7) // 8))
        if count % 8:
            bits[-1] = 0xff << (8 - count % 8) & 0xff
        have = struct.pack('>IB', 1 + len(bits), 5) + bits
        if self.args.fast:
            reserved[7] |= 4
            have = struct.pack('>IB', 1, 14)
        return (b'\x13BitTorrent protocol' + reserved + self.torrent.hash + b'-SS0001-' + os.urandom(12) +
                have + struct.pack('>IB', 1, 1))

    def accept(self):
        try:
            sock, _ = self.listener.accept()
        except OSError:
            return
        sock.setblocking(False)
        self.stats['connections'] += 1
        conn = Conn(sock)
        self.select.register(sock, READ, conn)
        if self.args.asked:
            self.asked.append(conn.asked)

    def answer(self, conn, piece, begin, length):
        at = piece * self.torrent.piece_length + begin
        if length > 1 << 17 or at + length > len(self.data):
            raise ConnectionError('asked for what is not there')
        block = self.data[at:at + length]
        conn.asked.add(piece)
        if self.args.corrupt and self.rng.random() < self.args.corrupt:
            bad = bytearray(block)
            bad[self.rng.randrange(length)] ^= 1 << self.rng.randrange(8)
            block = bytes(bad)
            self.stats['corrupted'] += 1
        conn.out.append(PIECE.pack(9 + length, 7, piece, begin))
        conn.out.append(block)

    def read(self, conn):
        data = conn.sock.recv(1 << 18)
        if not data:
            raise ConnectionError('closed')
        data, at = conn.got + data, 0
        if not conn.known:
            if len(data) < 68:
                conn.got = data
                return
            if data[28:48] != self.torrent.hash:
                raise ConnectionError('another torrent')
            conn.known, at = True, 68
            conn.out.append(self.greeting())
        end = len(data)
        while end - at >= 17:
            length, kind, piece, begin, count = REQUEST.unpack_from(data, at)
            if length == 13 and kind == 6:
                if not self.stats['first']:
                    self.stats['first'] = time.monotonic()
                self.answer(conn, piece, begin, count)
                at += 17
            elif end - at < 4 + length:
                break
            else:
                at += 4 + length
        while end - at >= 4:  # the shorter ones
            length, = struct.unpack_from('>I', data, at)
            if end - at < 4 + length:
                break
            at += 4 + length
        conn.got = data[at:]

    def flush(self, conn):
        limit = self.args.up
        while conn.head < len(conn.out):
            if limit and self.tokens <= 0:
                if conn not in self.waiting:
                    self.waiting.append(conn)
                return
            part = conn.out[conn.head:conn.head + (2 if limit else IOV)]
            try:
                sent = conn.sock.sendmsg(part)
            except BlockingIOError:
                self.poll(conn, True)
                return
            self.stats['sent'] += sent
            self.tokens -= sent
            for buffer in part:
                if sent < len(buffer):
                    conn.out[conn.head] = buffer[sent:] if sent else buffer
                    break
                sent -= len(buffer)
                conn.head += 1
        self.stats['blocks'] += len(conn.out) // 2
        self.stats['last'] = time.monotonic()
        conn.out, conn.head = [], 0
        self.poll(conn, False)

    def poll(self, conn, writing):
        if writing != conn.writing:
            conn.writing = writing
            self.select.modify(conn.sock, WRITE if writing else READ, conn)

    def close(self, conn):
        self.select.unregister(conn.sock)
        conn.sock.close()
        if conn in self.waiting:
            self.waiting.remove(conn)

    def save(self):
        if self.args.stats:
            with open(self.args.stats + '.new', 'w') as file:
                json.dump({**self.stats, 'asked': [sorted(a) for a in self.asked]}, file)
            os.rename(self.args.stats + '.new', self.args.stats)

    def refill(self):
        now = time.monotonic()
        self.tokens = min(self.tokens + (now - self.filled) * self.args.up, self.args.up / 20)
        self.filled = now
        held, self.waiting = self.waiting, []
        for conn in held[1:] + held[:1]:
            self.work(conn, READ, reading=False)

    def work(self, conn, event, reading=True):
        try:
            if reading and event & READ:
                self.read(conn)
            self.flush(conn)
        except OSError:
            self.close(conn)

    def run(self):
        saved = 0
        while not self.ending:
            for key, event in self.select.select(0.01 if self.waiting else 0.1):
                if key.data is None:
                    self.accept()
                else:
                    self.work(key.data, event)
            if self.args.up:
                self.refill()
            if time.monotonic() - saved > 0.1:
                self.save()
                saved = time.monotonic()
        self.save()


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument('host')
    parser.add_argument('port', type=int)
    parser.add_argument('torrent')
    parser.add_argument('file')
    parser.add_argument('--corrupt', type=float, default=0)
    parser.add_argument('--up', type=int, default=0)
    parser.add_argument('--fast', action='store_true')
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--stats')
    parser.add_argument('--asked', action='store_true')
    Source(parser.parse_args()).run()


if __name__ == '__main__':
    main()
