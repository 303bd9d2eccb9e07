"""Transfers beside python3-libtorrent and the floor, in one run, in turn, warm; best of N.

usage: transfer.py [SECTION...] [--size MIB] [--rounds N] [--check] [--dir DIR]
Sections (default: all)
  ram     download from one source onto tmpfs
  disk    download from one source onto the disk (DIR, default /tmp)
  seed    seeding to the sink with 1, 8 and 500 connections
  many    download from 200 sources at once
  idle    memory of 2,000 idle connections
  load    a torrent of 1,000,000 pieces and 100,000 files
Machines are shared and noisy: the ratios count, not the rates.  Thresholds stand beside the figures;
with --check a missed one makes the exit status 1.
"""
import argparse
import json
import os
import resource
import subprocess
import sys
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, '..', 'interop'))
import data
import world as worlds
from bcode import Torrent, encode, make_info
from peers.libtorrent_peer import Libtorrent
from peers.source import Source
from peers.spate import PROGRAM, Spate
from world import Loopback, wait_for

GIB = 1 << 30
BUDGET = 64 * data.MIB
SINK = os.path.join(HERE, 'sink.py')


class Bench:
    def __init__(self, world, args):
        self.world, self.args, self.missed, self.port = world, args, [], 20000
        self.size = args.size * data.MIB
        self.rams = 0
        source = os.path.join(self.ram(), 'bench.bin')
        data.write_random(source, self.size, data.random.Random(1))
        self.torrent = Torrent.write(os.path.join(world.dir, 'bench.torrent'), make_info(source, data.MIB))
        self.folder = os.path.dirname(source)
        self.floor = os.path.join(world.dir, 'floor')
        subprocess.run([os.environ.get('CC', 'cc'), '-O2', '-D_GNU_SOURCE', os.path.join(HERE, 'floor.c'), '-o',
                        self.floor, '-lcrypto'], check=True)

    def ram(self):
        """A new tmpfs."""
        path = self.world.folder('ram')
        subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=%d' % (self.size + 64 * data.MIB), 'tmpfs', path], check=True)
        return path

    def peer(self, kind, **more):
        self.port += 1
        peer = kind(self.world, host=Loopback(), **more)
        peer.port = self.port
        return peer

    def say(self, text):
        print(text, flush=True)

    def judge(self, what, value, limit, at_least):
        good = value >= limit if at_least else value <= limit
        self.say('  %-58s %8.2f  %s %.2f  %s' % (what, value, '>=' if at_least else '<=', limit,
                                                 'pass' if good else 'FAIL'))
        if not good:
            self.missed.append(what)

    def run_floor(self, *argv):
        return json.loads(subprocess.run([self.floor, *argv], check=True, stdout=subprocess.PIPE).stdout)


def best(runs):
    """The fastest run, and the least processor time of any."""
    return max(r['MBps'] for r in runs), min(r['cpu'] for r in runs)


def in_turn(rounds, *kinds):
    """A B, B A, A B ...: what drifts meets both alike."""
    for turn in range(rounds):
        yield from kinds if turn % 2 == 0 else reversed(kinds)


# --- downloads ------------------------------------------------------------------------------------

def sources(bench, count):
    """(the process, addresses): one source, or one that is `count` of them."""
    source = bench.peer(Source)
    if count > 1:
        source.ip = '0.0.0.0'
    source.seed(bench.torrent, bench.folder)
    names = ['127.0.0.%d:%d' % (2 + i, source.port) for i in range(count)] if count > 1 else [source.address]
    return source, names


def finish(process):
    """Waits for the end; the processor time it took in all."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError('%s ended with %d' % (process.args[0], process.returncode))
    return usage.ru_utime + usage.ru_stime


def watch(peer, text, timeout=300):
    """(when `text` appears in what it says, most memory until then); the process may be gone by then."""
    path = peer.events_path if isinstance(peer, Spate) else peer.log
    peak, looked, end = 0, 0, time.monotonic() + timeout
    with open(path, 'rb') as file:
        said = b''
        while text not in said:
            now = time.monotonic()
            if now > end:
                raise TimeoutError('%s says nothing of %s' % (peer.name, text))
            if now - looked > 0.02:
                try:
                    peak, looked = max(peak, peer.memory()), now
                except OSError:
                    pass
                if not peak and peer.process.poll() is not None and text not in said + file.read():
                    raise RuntimeError('%s ended: %s' % (peer.name, peer.log_tail()))
            said += file.read()
            time.sleep(0.001)
    return time.monotonic(), peak


def download(bench, kind, out, count=1, options=()):
    """One download; {MBps, cpu: s/GiB, peak: bytes, twice: share received more than once}."""
    source, names = sources(bench, count)
    setup = 0
    if kind is Spate:
        peer = bench.peer(Spate, options=[*options, *(x for n in names for x in ('--peer', n))])
        peer.leech(bench.torrent, out)
        done, peak = watch(peer, b'"complete"')
        cpu = finish(peer.process)
    else:
        peer = bench.peer(Libtorrent)
        peer.launch(bench.torrent, out, 'once=1', 'peers=' + ','.join(names))
        done, peak = watch(peer, b'"seeding": true')
        cpu = finish(peer.process)
        said = json.loads(peer.log_tail(1)[-1])
        done, setup = said['at'], said['setup_cpu']
    time.sleep(0.25)
    stats = source.stats()
    source.stop()
    peer.process = None
    wrong = data.differences(os.path.join(bench.folder, bench.torrent.name), os.path.join(out, bench.torrent.name))
    if wrong:
        raise RuntimeError('%s: %s' % (peer.name, wrong))
    os.unlink(os.path.join(out, bench.torrent.name))
    os.sync()  # its dirty pages are nobody else's burden
    payload = stats['sent'] * 16384 / 16397
    return {'MBps': bench.size / (done - stats['first']) / 1e6, 'cpu': (cpu - setup) * GIB / bench.size,
            'peak': peak, 'twice': max(0, payload - bench.size) / bench.size, 'conns': stats['connections']}


def compare_downloads(bench, title, out, faster, cheaper, floor_options):
    runs = {Spate: [], Libtorrent: []}
    for kind in (Spate, Libtorrent):
        download(bench, kind, out)  # warm
    for kind in in_turn(bench.args.rounds, Spate, Libtorrent):
        runs[kind].append(download(bench, kind, out))
    bench.say('download, one source, %s' % title)
    figures = {}
    for kind, label in ((Spate, 'spate'), (Libtorrent, 'libtorrent')):
        figures[kind] = best(runs[kind])
        bench.say('  %-14s %7.0f MB/s %6.2f CPU s/GiB   of %s' % (
            label, *figures[kind], ' '.join('%.0f' % r['MBps'] for r in runs[kind])))
    path = os.path.join(out, 'floor')
    floor = [bench.run_floor('recv', os.path.join(bench.folder, bench.torrent.name), path, *floor_options)
             for _ in range(2)][-1]
    os.unlink(path)
    os.sync()
    bench.say('  %-14s %7.0f MB/s %6.2f CPU s/GiB   recv + SHA-1 + write, one thread' % (
        'floor', floor['MBps'], floor['cpu_s_per_GiB']))
    bench.judge('MB/s, spate : libtorrent', figures[Spate][0] / figures[Libtorrent][0], faster, True)
    bench.judge('CPU s/GiB, spate : libtorrent', figures[Spate][1] / figures[Libtorrent][1], cheaper, False)
    bench.judge('most memory, MiB', max(r['peak'] for r in runs[Spate]) / data.MIB, (BUDGET >> 20) + 40, False)
    return figures[Spate][0]


def section_ram(bench):
    bench.one_source = compare_downloads(bench, 'tmpfs', bench.ram(), 1.4, 0.75, [])


def section_disk(bench):
    out = os.path.join(bench.args.dir or bench.world.dir, 'bench-disk-%d' % os.getpid())
    os.makedirs(out)
    compare_downloads(bench, 'disk', out, 2, 0.45, ['direct'])
    os.rmdir(out)


def section_many(bench):
    out = bench.ram()
    runs = {Spate: [], Libtorrent: []}
    ones = []
    download(bench, Spate, out, 200)
    for kind in in_turn(max(2, bench.args.rounds // 2), Spate, Libtorrent):
        runs[kind].append(download(bench, kind, out, 200))
        if kind is Spate:
            ones.append(download(bench, Spate, out))
    bench.say('download, 200 sources at once, tmpfs')
    for kind, label in ((Spate, 'spate'), (Libtorrent, 'libtorrent')):
        rate, cpu = best(runs[kind])
        bench.say('  %-14s %7.0f MB/s %6.2f CPU s/GiB %6.0f MiB %6.2f %% twice, %d connections' % (
            label, rate, cpu, max(r['peak'] for r in runs[kind]) / data.MIB,
            100 * max(r['twice'] for r in runs[kind]), max(r['conns'] for r in runs[kind])))
    bench.judge('MB/s, 200 sources : one source', best(runs[Spate])[0] / best(ones)[0], 0.7, True)
    bench.judge('most memory, MiB', max(r['peak'] for r in runs[Spate]) / data.MIB, (BUDGET >> 20) + 60, False)
    bench.judge('received twice, %', 100 * max(r['twice'] for r in runs[Spate]), 1, False)
    bench.judge('connected to, of 200', min(r['conns'] for r in runs[Spate]), 195, True)


# --- seeding --------------------------------------------------------------------------------------

def sink(bench, peer, conns, size, *options):
    said = subprocess.run(['/usr/bin/python3', SINK, peer.ip, str(peer.port), bench.torrent.path, '--conns', str(conns),
                           '--bytes', str(size), '--window', str(256 if conns <= 8 else 32), '--spread', *options],
                          check=True, stdout=subprocess.PIPE).stdout
    return json.loads(said)


def start_seed(bench, kind, folder):
    peer = bench.peer(kind, **({'options': ['--conns', '4000']} if kind is Spate else {}))
    peer.seed(bench.torrent, folder)
    peer.wait_port()
    wait_for('it serves', lambda: subprocess.run(
        ['/usr/bin/python3', SINK, peer.ip, str(peer.port), bench.torrent.path, '--bytes', '1', '--limit', '5'],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0, 60, peer.alive)
    return peer


def section_seed(bench):
    """From the page cache of the disk, which floor reads too."""
    folder = os.path.join(bench.args.dir or bench.world.dir, 'bench-seed-%d' % os.getpid())
    os.makedirs(folder)
    path = os.path.join(folder, bench.torrent.name)
    subprocess.run(['cp', os.path.join(bench.folder, bench.torrent.name), path], check=True)
    os.sync()
    peers = {kind: start_seed(bench, kind, folder) for kind in (Spate, Libtorrent)}
    figures, limits = {}, {1: 2.5, 8: 1.4}
    for conns in (1, 8, 500):
        runs, floors = {Spate: [], Libtorrent: []}, []
        total = bench.size * (1 if conns == 1 else 2)
        for peer in peers.values():
            sink(bench, peer, conns, bench.size // 4)  # warm
        for kind in in_turn(bench.args.rounds, Spate, Libtorrent):
            before = peers[kind].cpu_seconds()
            said = sink(bench, peers[kind], conns, total)
            said['cpu'] = (peers[kind].cpu_seconds() - before) * GIB / said['bytes']
            runs[kind].append(said)
            if kind is Spate:
                floors.append(bench.run_floor('copy', path))
        bench.say('seeding to %d connection%s' % (conns, 's' if conns > 1 else ''))
        for kind, label in ((Spate, 'spate'), (Libtorrent, 'libtorrent')):
            figures[kind, conns] = best(runs[kind])
            bench.say('  %-14s %7.0f MB/s %6.2f CPU s/GiB   of %s, %d served' % (
                label, *figures[kind, conns], ' '.join('%.0f' % r['MBps'] for r in runs[kind]),
                min(r['served'] for r in runs[kind])))
        floor = max(f['MBps'] for f in floors)
        bench.say('  %-14s %7.0f MB/s %6.2f CPU s/GiB   pread + writev, one thread' % (
            'floor', floor, min(f['cpu_s_per_GiB'] for f in floors)))
        if conns in limits:
            bench.judge('MB/s, spate : libtorrent', figures[Spate, conns][0] / figures[Libtorrent, conns][0],
                        limits[conns], True)
        if conns == 1:
            bench.judge('MB/s, spate : floor', figures[Spate, 1][0] / floor, 0.7, True)
            bench.judge('CPU s/GiB', figures[Spate, 1][1], 0.45, False)
    bench.judge('CPU s/GiB, 500 connections : 8', figures[Spate, 500][1] / figures[Spate, 8][1], 1.3, False)
    for peer in peers.values():
        peer.stop()
    os.unlink(path)
    os.rmdir(folder)


def section_idle(bench):
    bench.say('2,000 idle connections')
    for kind, label in ((Spate, 'spate'), (Libtorrent, 'libtorrent')):
        peer = start_seed(bench, kind, bench.folder)
        before = peer.memory('VmRSS')
        process = subprocess.Popen(['/usr/bin/python3', SINK, peer.ip, str(peer.port), bench.torrent.path, '--conns',
                                    '2000', '--idle', '3', '--spread'], stdout=subprocess.PIPE)
        if process.stdout.readline():
            time.sleep(1)
            each = (peer.memory('VmRSS') - before) / 2000 / 1024
            bench.say('  %-14s %6.2f KiB each' % (label, each))
            if kind is Spate:
                bench.judge('KiB each', each, 4, False)
        else:
            bench.say('  %s: not all were accepted' % label)
            bench.missed += ['idle connections'] if kind is Spate else []
        process.wait()
        peer.stop()


# --- the rest -------------------------------------------------------------------------------------

def section_load(bench):
    """Parsing and showing it, all files listed: more than what loading needs."""
    count, pieces, piece_length = 100000, 1000000, 16384
    sizes = [pieces // count * piece_length] * count
    info = {'name': 'large', 'piece length': piece_length, 'pieces': os.urandom(20 * pieces),
            'files': [{'length': n, 'path': ['folder %d' % (i // 1000), 'file %d' % i]} for i, n in enumerate(sizes)]}
    path = os.path.join(bench.world.dir, 'large.torrent')
    with open(path, 'wb') as file:
        file.write(encode({'info': info}))
    took = []
    for _ in range(3):
        began = time.monotonic()
        subprocess.run([PROGRAM, 'show', path, '--json'], check=True, stdout=subprocess.DEVNULL)
        took.append(time.monotonic() - began)
    bench.say('a torrent of 1,000,000 pieces and 100,000 files')
    bench.judge('s to show it', min(took), 1, False)


SECTIONS = {name[8:]: run for name, run in list(globals().items()) if name.startswith('section_')}


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument('sections', nargs='*', metavar='SECTION')
    parser.add_argument('--size', type=int, default=1024)
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--check', action='store_true')
    parser.add_argument('--dir')
    args = parser.parse_args()
    for name in args.sections:
        if name not in SECTIONS:
            parser.error('no such section: ' + name)
    if not os.access(PROGRAM, os.X_OK):
        sys.exit('transfer.py: %s is not built' % PROGRAM)
    worlds.enter()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(16384, most), most))
    with worlds.World('bench', network=False) as world:
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
