"""What grows with peers, pieces and files: memory and processor time of the program alone, beside their limits.

usage: scale.py [SECTION...] [--size MIB] [--rounds N] [--check]
Sections (default: all)
  idle     memory of 2,000 connections that handshake, tell what they have, and then say nothing
  load     a torrent of 1,000,000 pieces and 100,000 files: shown, and ready to download into an empty folder
  sinks    processor time of seeding to 500 connections, beside that of 8
  sources  200 sources at once: memory, bytes received twice, rate beside that of one source
  memory   most memory of a download: budgets of 64 and 16 MiB, pieces of 1 and 16 MiB
With --check a missed limit makes the exit status 1.
"""
import argparse
import json
import os
import resource
import selectors
import socket
import struct
import subprocess
import sys
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, '..', 'interop'))
import data
import world as worlds
from bcode import Torrent, encode, make_info
from peers.spate import PROGRAM, Spate
from transfer import SINK, Bench, best, download, start_seed
from world import wait_for

GIB = 1 << 30
IDLE = 2000
BLOCK = 16384


# --- idle connections -----------------------------------------------------------------------------

def greeting(torrent, index):
    """What a client says first: fast and extended, then what it has: nothing, a part, all but one piece."""
    reserved = bytes([0, 0, 0, 0, 0, 0x10, 0, 0x05])
    said = b'\x13BitTorrent protocol' + reserved + torrent.hash + b'-ID0001-' + os.urandom(12)
    extended = encode({'m': {'ut_metadata': 2, 'ut_pex': 1, 'lt_donthave': 7}, 'p': 6881, 'reqq': 500, 'v': 'idle 1.0'})
    said += struct.pack('>IBB', 2 + len(extended), 20, 0) + extended
    count = torrent.piece_count
    if index % 4 == 0:
        return said + struct.pack('>IB', 1, 15)
    bits = bytearray(b'\xff' * (count // 8) + bytes((count + 7) // 8 - count // 8))
    if index % 4 == 1:
        bits[index % (count // 8)] = 0
    else:
        bits[:] = os.urandom(len(bits))
        if count % 8:
            bits[-1] &= 0xff << (8 - count % 8) & 0xff
    return said + struct.pack('>IB', 1 + len(bits), 5) + bits


def connect_idle(peer, torrent, count):
    """They take what they are sent, and answer nothing."""
    select, socks = selectors.DefaultSelector(), []
    for index in range(count):
        sock = socket.socket()
        sock.bind(('127.0.%d.%d' % (1 + index // 250, 2 + index % 250), 0))
        sock.connect((peer.ip, peer.port))
        sock.sendall(greeting(torrent, index))
        select.register(sock, selectors.EVENT_READ)
        socks.append(sock)
    end, heard = time.monotonic() + 3, set()
    while time.monotonic() < end or len(heard) < count:
        if time.monotonic() > end + 20:
            raise TimeoutError('%d of %d were greeted' % (len(heard), count))
        for key, _ in select.select(0.2):
            if not key.fileobj.recv(1 << 16):
                raise ConnectionError('was closed')
            heard.add(key.fd)
    return socks


def take_some(socks, blocks):
    """Each takes a few blocks once it is served, and is idle again."""
    select, left = selectors.DefaultSelector(), len(socks)
    want = blocks * (BLOCK + 13)
    for sock in socks:
        sock.sendall(struct.pack('>IB', 1, 2))
        select.register(sock, selectors.EVENT_READ, [b'', 0])
    end = time.monotonic() + 30
    while left:
        if time.monotonic() > end:
            raise TimeoutError('%d of %d did not get their blocks' % (left, len(socks)))
        for key, _ in select.select(0.2):
            data = key.fileobj.recv(1 << 18)
            if not data:
                raise ConnectionError('was closed')
            if key.data[1]:
                key.data[1] += len(data)
                if key.data[1] > want:
                    select.unregister(key.fileobj)
                    key.fileobj.sendall(struct.pack('>IB', 1, 3))
                    left -= 1
                continue
            key.data[0] += data
            if key.data[0].endswith(struct.pack('>IB', 1, 1)):
                key.data[1] = 1
                key.fileobj.sendall(b''.join(struct.pack('>IBIII', 13, 6, i, 0, BLOCK) for i in range(blocks)))


def section_idle(bench):
    source = os.path.join(bench.world.folder('idle'), 'idle.bin')
    data.write_random(source, 2000 * 16384, data.random.Random(3))
    torrent = Torrent.write(os.path.join(bench.world.dir, 'idle.torrent'), make_info(source, 16384))
    whole, bench.torrent = bench.torrent, torrent
    peer = start_seed(bench, Spate, os.path.dirname(source))
    bench.torrent = whole
    time.sleep(1)
    before = peer.memory('VmRSS')
    socks = connect_idle(peer, torrent, IDLE)
    time.sleep(1)
    after, cpu = peer.memory('VmRSS'), peer.cpu_seconds()
    time.sleep(3)
    cpu = peer.cpu_seconds() - cpu
    bench.say('2,000 idle connections, 2,000 pieces')
    bench.judge('KiB each', (after - before) / IDLE / 1024, 4, False)
    bench.judge('CPU ms a second', cpu / 3 * 1000, 20, False)
    take_some(socks[:200], 32)
    time.sleep(8)
    bench.judge('KiB each, after 200 of them took half a MiB',
                (peer.memory('VmRSS') - before) / IDLE / 1024, 4, False)
    for sock in socks:
        sock.close()
    peer.stop()


# --- a large torrent ------------------------------------------------------------------------------

def large_torrent(bench):
    count, pieces, piece_length = 100000, 1000000, 16384
    each = pieces // count * piece_length
    info = {'name': 'large', 'piece length': piece_length, 'pieces': os.urandom(20 * pieces),
            'files': [{'length': each, 'path': ['folder %d' % (i // 1000), 'file %d' % i]} for i in range(count)]}
    path = os.path.join(bench.world.dir, 'large.torrent')
    with open(path, 'wb') as file:
        file.write(encode({'info': info}))
    return Torrent(path)


def section_load(bench):
    torrent = large_torrent(bench)
    shown, ready, cpus, peaks, idle = [], [], [], [], []
    for _ in range(bench.args.rounds):
        began = time.monotonic()
        subprocess.run([PROGRAM, 'show', torrent.path, '--json'], check=True, stdout=subprocess.DEVNULL)
        shown.append(time.monotonic() - began)
        out = bench.world.folder('large')
        peer = bench.peer(Spate)
        began = time.monotonic()
        peer.leech(torrent, out)
        wait_for('it looks for peers', lambda: peer.events('checked'), 60, peer.alive, 0.005)
        ready.append(time.monotonic() - began)
        cpus.append(peer.cpu_seconds())
        peaks.append(peer.memory())
        at = peer.cpu_seconds()
        time.sleep(2)
        idle.append((peer.cpu_seconds() - at) / 2)
        made = sum(len(files) for _, _, files in os.walk(out))
        peer.stop()
        if made > 1:
            raise RuntimeError('%d files were made before there is data for them' % made)
    bench.say('a torrent of 1,000,000 pieces and 100,000 files')
    bench.judge('s to show it', min(shown), 1, False)
    bench.judge('s until it downloads', min(ready), 1, False)
    bench.judge('CPU s until it downloads', min(cpus), 1, False)
    bench.judge('most memory, MiB', min(peaks) / data.MIB, 256, False)
    bench.judge('CPU ms a second, waiting for peers', 1000 * min(idle), 20, False)


# --- many peers -----------------------------------------------------------------------------------

def serve(bench, peer, conns, size):
    """Seeds `size` bytes to sinks, counted from the moment on when all of them are served."""
    began = time.monotonic()
    process = subprocess.Popen(['/usr/bin/python3', SINK, peer.ip, str(peer.port), bench.torrent.path, '--conns', str(conns),
                                '--bytes', str(size), '--window', str(256 if conns <= 8 else 32), '--spread', '--settle'],
                               stdout=subprocess.PIPE)
    if not process.stdout.readline():
        raise RuntimeError('not all of %d connections were served' % conns)
    before, waited = peer.cpu_seconds(), time.monotonic() - began
    said = json.loads(process.stdout.readline())
    said['cpu'], said['waited'] = (peer.cpu_seconds() - before) * GIB / said['bytes'], waited
    process.wait()
    return said


def section_sinks(bench):
    peer = start_seed(bench, Spate, bench.folder)
    figures = {8: [], 500: []}
    total = max(4 * GIB, 4 * bench.size)
    for turn in range(bench.args.rounds):
        for conns in figures if turn % 2 == 0 else reversed(figures):
            figures[conns].append(serve(bench, peer, conns, total))
    bench.say('seeding')
    for conns, runs in figures.items():
        rate, cpu = best(runs)
        bench.say('  %3d connections %6.0f MB/s %6.2f CPU s/GiB, all served after %.1f s, least %.1f MiB, most %.1f MiB' % (
            conns, rate, cpu, max(r['waited'] for r in runs), min(r['least'] for r in runs) / data.MIB,
            max(r['most'] for r in runs) / data.MIB))
    bench.judge('CPU s/GiB, 500 connections : 8', best(figures[500])[1] / best(figures[8])[1], 1.3, False)
    bench.judge('s until all of 500 are served', max(r['waited'] for r in figures[500]), 10, False)
    bench.say('  most memory %.0f MiB' % (peer.memory() / data.MIB))
    peer.stop()


def section_sources(bench):
    out = bench.ram()
    many, one = [], []
    download(bench, Spate, out)  # warm
    for _ in range(bench.args.rounds):
        many.append(download(bench, Spate, out, 200))
        one.append(download(bench, Spate, out))
    bench.say('download from 200 sources at once')
    for label, runs in (('200', many), ('one', one)):
        rate, cpu = best(runs)
        bench.say('  %-6s %6.0f MB/s %6.2f CPU s/GiB %6.0f MiB %6.2f %% twice, %d connections' % (
            label, rate, cpu, max(r['peak'] for r in runs) / data.MIB, 100 * max(r['twice'] for r in runs),
            max(r['conns'] for r in runs)))
    bench.judge('MB/s, 200 sources : one source', best(many)[0] / best(one)[0], 0.7, True)
    bench.judge('most memory, MiB', max(r['peak'] for r in many) / data.MIB, 64 + 60, False)
    bench.judge('received twice, %', 100 * max(r['twice'] for r in many), 1, False)
    bench.judge('connected to, of 200', min(r['conns'] for r in many), 195, True)


def section_memory(bench):
    out = bench.ram()
    whole = bench.torrent
    bench.say('most memory of a download of %d MiB' % bench.args.size)
    for piece in (1, 16):
        source = os.path.join(bench.folder, whole.name)
        bench.torrent = whole if piece == 1 else Torrent.write(
            os.path.join(bench.world.dir, 'bench-16.torrent'), make_info(source, piece * data.MIB))
        for budget in (64, 16):
            for count in (1, 200):
                said = download(bench, Spate, out, count, ['--memory', '%dM' % budget])
                bench.judge('pieces of %2d MiB, budget %d MiB, %3d source%s' % (
                    piece, budget, count, 's' if count > 1 else ''), said['peak'] / data.MIB, budget + 40, False)
    bench.torrent = whole


SECTIONS = {name[8:]: run for name, run in list(globals().items()) if name.startswith('section_')}


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument('sections', nargs='*', metavar='SECTION')
    parser.add_argument('--size', type=int, default=1024)
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--check', action='store_true')
    args = parser.parse_args()
    for name in args.sections:
        if name not in SECTIONS:
            parser.error('no such section: ' + name)
    if not os.access(PROGRAM, os.X_OK):
        sys.exit('scale.py: %s is not built' % PROGRAM)
    worlds.enter()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(16384, most), most))
    with worlds.World('scale', network=False) as world:
        bench = Bench(world, args)
        bench.say('%d MiB, best of %d, %d processors, load %.1f' % (
            args.size, args.rounds, os.cpu_count(), os.getloadavg()[0]))
        for name in args.sections or SECTIONS:
            SECTIONS[name](bench)
        for what in bench.missed:
            bench.say('missed: ' + what)
    return 1 if args.check and bench.missed else 0


if __name__ == '__main__':
    sys.exit(main())
