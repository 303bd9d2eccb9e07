"""A leecher that only discards: asks for blocks with a deep pipeline over many connections, checks no hash.

usage: sink.py HOST PORT TORRENT [--conns N] [--bytes B] [--window W] [--idle S] [--limit S] [--spread] [--settle]
It ends once B bytes of payload (default: the torrent's length) have come over all connections together,
and prints {bytes, seconds, MBps, conns, served, least, most} as JSON; served counts connections that
got anything.  Chokes are obeyed: what was asked for is asked again when the seeder lets it.
--idle S   asks for nothing, holds the connections for S seconds after the last handshake, prints {conns}
--settle   counts from the moment on when each connection has got something, and prints {settled} then
--spread   each connection from an address of its own, 127.0.0.2 onwards
"""
import argparse
import json
import os
import selectors
import socket
import struct
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'interop'))
from bcode import Torrent

BLOCK = 16384
HEAD = struct.Struct('>IB')


class Conn:
    def __init__(self, sock, start):
        self.sock = sock
        self.head = b''        # of a message, up to 5 bytes; of the handshake up to 68
        self.skip = 0          # bytes of the current message still to come
        self.greeted = self.open = False
        self.next, self.asked, self.got = start, 0, 0


class Sink:
    def __init__(self, args):
        self.args, torrent = args, Torrent(args.torrent)
        self.hash = torrent.hash
        self.requests = [struct.pack('>IBIII', 13, 6, piece, begin, min(BLOCK, torrent.piece_len(piece) - begin))
                         for piece in range(torrent.piece_count)
                         for begin in range(0, torrent.piece_len(piece), BLOCK)]
        self.want = args.bytes or torrent.length
        self.got, self.began, self.buffer = 0, None, memoryview(bytearray(1 << 20))
        self.select, self.conns = selectors.DefaultSelector(), []

    def connect(self, index):
        sock = socket.socket()
        if self.args.spread:
            sock.bind(('127.%d.%d.%d' % (index // 62500, index // 250 % 250, 2 + index % 250), 0))
        sock.connect((self.args.host, self.args.port))
        sock.sendall(b'\x13BitTorrent protocol' + bytes(8) + self.hash + b'-SK0001-' + os.urandom(12))
        sock.setblocking(False)
        conn = Conn(sock, index * len(self.requests) // self.args.conns)
        self.conns.append(conn)
        self.select.register(sock, selectors.EVENT_READ, conn)

    def send(self, conn, data):
        """Requests are small beside what comes back: waiting for room is rare and short."""
        conn.sock.setblocking(True)
        conn.sock.sendall(data)
        conn.sock.setblocking(False)

    def ask(self, conn):
        """Keeps between half a window and a window of blocks asked for."""
        if not conn.open or conn.asked > self.args.window // 2:
            return
        part = []
        while conn.asked < self.args.window:
            part.append(self.requests[conn.next])
            conn.next = (conn.next + 1) % len(self.requests)
            conn.asked += 1
        self.send(conn, b''.join(part))

    def message(self, conn, length, kind):
        if kind == 7:
            if self.began is None:
                self.began = time.monotonic()
            conn.got += length - 9
            self.got += length - 9
            conn.asked -= 1
        elif kind == 0:
            conn.open, conn.asked = False, 0
        elif kind == 1:
            conn.open = True

    def take(self, conn, data):
        """Walks over the messages; bodies are skipped, not looked at."""
        at, end = 0, len(data)
        if not conn.greeted:
            take = min(68 - len(conn.head), end)
            conn.head += bytes(data[:take])
            at = take
            if len(conn.head) < 68:
                return
            if conn.head[28:48] != self.hash:
                raise ConnectionError('wrong info-hash')
            conn.greeted, conn.head = True, b''
            if not self.args.idle:
                self.send(conn, HEAD.pack(1, 2))
        while at < end:
            if conn.skip:
                step = min(conn.skip, end - at)
                conn.skip -= step
                at += step
                continue
            if not conn.head and end - at >= 5:
                length, kind = HEAD.unpack_from(data, at)
                if length == 0:
                    at += 4
                    continue
                at += 5
            else:
                conn.head += bytes(data[at:at + 5 - len(conn.head)][:1])
                at += 1
                if conn.head == b'\0\0\0\0':
                    conn.head = b''
                if len(conn.head) < 5:
                    continue
                length, kind = HEAD.unpack(conn.head)
                conn.head = b''
            conn.skip = length - 1
            self.message(conn, length, kind)

    def settle(self):
        for conn in self.conns:
            conn.got = 0
        self.got, self.began = 0, time.monotonic()
        self.args.settle = False
        print(json.dumps({'settled': len(self.conns)}), flush=True)

    def run(self):
        for index in range(self.args.conns):
            self.connect(index)
        end = time.monotonic() + self.args.limit
        idle_until = None
        while self.args.settle or self.got < self.want:
            now = time.monotonic()
            if now > end:
                return 'not within %d s' % self.args.limit
            if self.args.idle and idle_until is None and all(c.greeted for c in self.conns):
                print(json.dumps({'conns': len(self.conns)}), flush=True)
                idle_until = now + self.args.idle
            if idle_until and now > idle_until:
                return None
            for key, _ in self.select.select(0.2):
                conn = key.data
                count = conn.sock.recv_into(self.buffer)
                if count == 0:
                    return 'closed after %d bytes' % conn.got
                new = not conn.got
                self.take(conn, self.buffer[:count])
                if self.args.settle and new and conn.got and all(c.got for c in self.conns):
                    self.settle()
                self.ask(conn)
        seconds = time.monotonic() - self.began
        each = [c.got for c in self.conns]
        print(json.dumps({'bytes': self.got, 'seconds': round(seconds, 4), 'MBps': round(self.got / seconds / 1e6, 1),
                          'conns': len(each), 'served': sum(1 for g in each if g), 'least': min(each),
                          'most': max(each)}), flush=True)
        return None


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument('host')
    parser.add_argument('port', type=int)
    parser.add_argument('torrent')
    parser.add_argument('--conns', type=int, default=1)
    parser.add_argument('--bytes', type=int, default=0)
    parser.add_argument('--window', type=int, default=256)
    parser.add_argument('--idle', type=float, default=0)
    parser.add_argument('--limit', type=float, default=120)
    parser.add_argument('--spread', action='store_true')
    parser.add_argument('--settle', action='store_true')
    wrong = Sink(parser.parse_args()).run()
    if wrong:
        sys.exit('sink: ' + wrong)


if __name__ == '__main__':
    main()
