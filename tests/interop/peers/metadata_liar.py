"""A peer that has nothing but an info dictionary to give, and not always the right one.

As a program: metadata_liar.py IP:PORT HASH FILE [SIZE] serves FILE as the info dictionary, telling SIZE.
"""
import os
import socket
import struct
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from bcode import decode_at, encode

PIECE = 16384


def message(ident, body):
    return struct.pack('>IB', len(body) + 1, ident) + body


def read(sock, count):
    parts = b''
    while len(parts) < count:
        part = sock.recv(count - len(parts))
        if not part:
            raise EOFError
        parts += part
    return parts


def talk(sock, info_hash, info, size):
    read(sock, 68)
    sock.sendall(b'\x13BitTorrent protocol' + b'\0\0\0\0\0\x10\0\0' + info_hash + b'-XX0001-' + os.urandom(12))
    sock.sendall(message(20, b'\0' + encode({b'm': {b'ut_metadata': 7}, b'metadata_size': size})))
    theirs = 0
    while True:
        length = struct.unpack('>I', read(sock, 4))[0]
        body = read(sock, length)
        if length < 2 or body[0] != 20:
            continue
        value, end = decode_at(body, 2)
        if body[1] == 0:
            theirs = value[b'm'].get(b'ut_metadata', theirs)
        elif value[b'msg_type'] == 0:
            at = value[b'piece'] * PIECE
            answer = encode({b'msg_type': 1, b'piece': value[b'piece'], b'total_size': size})
            sock.sendall(message(20, bytes([theirs]) + answer + info[at:at + PIECE]))


def serve(sock, *args):
    try:
        talk(sock, *args)
    except (OSError, EOFError, ValueError):
        pass
    sock.close()


def main():
    host, port = sys.argv[1].rsplit(':', 1)
    with open(sys.argv[3], 'rb') as file:
        info = file.read()
    listener = socket.create_server((host, int(port)))
    while True:
        sock, _ = listener.accept()
        threading.Thread(target=serve, args=(sock, bytes.fromhex(sys.argv[2]), info, len(info)), daemon=True).start()


if __name__ == '__main__':
    main()
else:
    from peers.base import Peer

    class MetadataLiar(Peer):
        name = 'liar'

        def serve(self, info_hash, info):
            path = os.path.join(self.home, 'info')
            with open(path, 'wb') as file:
                file.write(info)
            self.start(['/usr/bin/python3', os.path.abspath(__file__), self.address, info_hash.hex(), path])
            self.wait_port()

        def lie(self, torrent, longer=0):
            """Wrong in one byte of each piece; or with some more bytes as well."""
            info = bytearray(encode(torrent.info))
            for at in range(99, len(info), PIECE):
                info[at] ^= 1
            self.serve(torrent.hash, bytes(info) + b'x' * longer)
