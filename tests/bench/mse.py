"""Enciphered transfers between two of one kind, RC4 both ways, tmpfs to tmpfs: ours beside python3-libtorrent's
and beside our own in plain text, in turn, warm; best of N.

usage: mse.py [--size MIB] [--rounds N] [--check]
Seed and leecher share the machine's cores.  The clock runs from the first payload on the loopback device
until the leecher says that it has everything.
"""
import argparse
import os
import sys
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, '..', 'interop'))
sys.path.insert(0, HERE)
import data
import world as worlds
from peers.libtorrent_peer import Libtorrent
from peers.spate import Spate
from transfer import GIB, Bench, best, finish, in_turn

FORCED = ['in_enc_policy=0', 'out_enc_policy=0', 'allowed_enc_level=2']


def received():
    """Bytes that came over the loopback device so far."""
    with open('/proc/net/dev') as file:
        for line in file:
            name, _, rest = line.partition(':')
            if name.strip() == 'lo':
                return int(rest.split()[0])
    return 0


def said(peer):
    path = peer.events_path if isinstance(peer, Spate) else peer.log
    with open(path, 'rb') as file:
        return file.read()


def pair(bench, kind, policy):
    """One transfer: {MBps, cpu: s/GiB of the leecher}."""
    out = bench.world.folder('out')
    os.rmdir(out)
    os.symlink(bench.out, out)
    more = {'options': ['--encrypt', policy]} if kind is Spate else {}
    seed, leech = bench.peer(kind, **more), bench.peer(kind, **more)
    if kind is Spate:
        seed.seed(bench.torrent, bench.folder)
    else:
        seed.launch(bench.torrent, bench.folder, 'trust=1', *FORCED)
    seed.wait_port()
    time.sleep(1)
    before = received()
    if kind is Spate:
        leech.leech(bench.torrent, bench.out, '--peer', seed.address)
    else:
        leech.launch(bench.torrent, bench.out, 'once=1', 'peers=' + seed.address, *FORCED)
    end, began, done = time.monotonic() + 120, 0, b'"complete"' if kind is Spate else b'"seeding": true'
    while done not in said(leech):
        now = time.monotonic()
        if not began and received() - before > 256 * 1024:
            began = now
        if now > end:
            raise TimeoutError('%s: %s' % (leech.name, leech.log_tail()))
        time.sleep(0.002)
    took = time.monotonic() - began
    cpu = finish(leech.process)
    leech.process = None
    seed.stop()
    lines = data.differences(os.path.join(bench.folder, bench.torrent.name), os.path.join(bench.out, bench.torrent.name))
    if lines:
        raise RuntimeError(lines)
    os.unlink(os.path.join(bench.out, bench.torrent.name))
    return {'MBps': bench.size / took / 1e6, 'cpu': cpu * GIB / bench.size}


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument('--size', type=int, default=1024)
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--check', action='store_true')
    parser.add_argument('--dir', default='')
    args = parser.parse_args()
    worlds.enter()
    with worlds.World('mse-bench', network=False) as world:
        bench = Bench(world, args)
        bench.out = bench.ram()
        kinds = [(Spate, 'prefer', 'spate, RC4'), (Libtorrent, '', 'libtorrent, RC4'), (Spate, 'off', 'spate, plain')]
        runs = {kind: [] for kind in kinds}
        for kind in in_turn(args.rounds, *kinds):
            runs[kind].append(pair(bench, *kind[:2]))
        figures = {kind: best(runs[kind]) for kind in kinds}
        for kind in kinds:
            bench.say('  %-16s %7.0f MB/s %6.2f CPU s/GiB of the leecher   of %s' % (
                kind[2], *figures[kind], ' '.join('%.0f' % r['MBps'] for r in runs[kind])))
        bench.judge('MB/s, spate RC4', figures[kinds[0]][0], 400, True)
        bench.judge('MB/s, spate RC4 : libtorrent RC4', figures[kinds[0]][0] / figures[kinds[1]][0], 2, True)
    return 1 if args.check and bench.missed else 0


if __name__ == '__main__':
    sys.exit(main())
