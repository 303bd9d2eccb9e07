"""A small proxy for tests: SOCKS5 or HTTP, with or without a password, and a list of names that only it knows.

usage: socks.py ADDR PORT [--http] [--user U:P] [--names NAME=ADDR,...] [--log FILE]
Each line of the log is one target, as it was asked for.
"""
import argparse
import base64
import socket
import struct
import threading


class Refused(Exception):
    pass


def take(sock, count):
    got = b''
    while len(got) < count:
        part = sock.recv(count - len(got))
        if not part:
            raise Refused('closed')
        got += part
    return got


def socks_target(sock, args):
    count = take(sock, 2)[1]
    methods = take(sock, count)
    wanted = 2 if args.user else 0
    if wanted not in methods:
        sock.sendall(b'\5\xff')
        raise Refused('method')
    sock.sendall(bytes([5, wanted]))
    if args.user:
        user = take(sock, take(sock, 2)[1])
        password = take(sock, take(sock, 1)[0])
        good = (user + b':' + password).decode() == args.user
        sock.sendall(b'\1' + bytes([not good]))
        if not good:
            raise Refused('password')
    _, command, _, kind = take(sock, 4)
    if command != 1:
        sock.sendall(b'\5\7\0\1' + bytes(6))
        raise Refused('command')
    host = (socket.inet_ntoa(take(sock, 4)) if kind == 1 else take(sock, take(sock, 1)[0]).decode() if kind == 3
            else socket.inet_ntop(socket.AF_INET6, take(sock, 16)))
    return host, struct.unpack('>H', take(sock, 2))[0], b'\5\0\0\1' + bytes(6), b''


def http_target(sock, args):
    head = b''
    while b'\r\n\r\n' not in head:
        head += take(sock, 1)
    line = head.split(b'\r\n')[0].decode()
    if args.user and b'Proxy-Authorization: Basic ' + base64.b64encode(args.user.encode()) + b'\r\n' not in head:
        sock.sendall(b'HTTP/1.1 407 No\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n')
        raise Refused('password')
    method, target, _ = line.split(' ')
    if method == 'CONNECT':
        host, port = target.rsplit(':', 1)
        return host.strip('[]'), int(port), b'HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n', b''
    host, _, rest = target[len('http://'):].partition('/')
    host, _, port = host.partition(':')
    return host, int(port or 80), b'', head.replace(target.encode(), b'/' + rest.encode(), 1)


def pump(source, sink):
    try:
        while True:
            part = source.recv(65536)
            if not part:
                break
            sink.sendall(part)
    except OSError:
        pass
    for sock in (source, sink):
        try:
            sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def serve(sock, args):
    try:
        host, port, answer, ahead = (http_target if args.http else socks_target)(sock, args)
        with open(args.log, 'a') as file:
            file.write('%s:%d\n' % (host, port))
        names = dict(pair.split('=') for pair in args.names.split(',') if pair)
        other = socket.create_connection((names.get(host, host), port), 10)
        sock.sendall(answer)
        other.sendall(ahead)
    except (Refused, OSError):
        sock.close()
        return
    threading.Thread(target=pump, args=(other, sock), daemon=True).start()
    pump(sock, other)


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument('addr')
    parser.add_argument('port', type=int)
    parser.add_argument('--http', action='store_true')
    parser.add_argument('--user')
    parser.add_argument('--names', default='')
    parser.add_argument('--log', default='/dev/null')
    args = parser.parse_args()
    with socket.create_server((args.addr, args.port)) as listener:
        while True:
            sock, _ = listener.accept()
            threading.Thread(target=serve, args=(sock, args), daemon=True).start()


if __name__ == '__main__':
    main()
