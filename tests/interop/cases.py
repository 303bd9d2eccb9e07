"""Real transfers with other clients through opentracker, as TAP.

usage: cases.py [NAME...] [--quick] [--jobs N] [--self CLIENT] [--list]
NAME      only these clients (transmission aria2 rtorrent qbittorrent ctorrent libtorrent)
--quick   every client in both directions once, instead of each by {http, udp} x data set
--self    another client in our place: shows what the harness itself is worth
KEEP=1 keeps the folder with all files and logs; SPATE names the program.
"""
import argparse
import os
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import data
import world as worlds
from bcode import Torrent
from peers import ALL, FOREIGN
from peers.opentracker import Tracker
from peers.spate import PROGRAM

TIMEOUT = 60


class Case:
    """seeder -> leecher by one kind of tracker, one data set; the info-hash is its own."""

    def __init__(self, seeder, leecher, kind, data_set):
        self.seeder, self.leecher, self.kind, self.data = seeder, leecher, kind, data_set
        self.times = []
        self.title = '%s seeds, %s gets, %s, %s' % (seeder.name, leecher.name, kind, data_set.name)

    def make_torrents(self, folder):
        """One torrent for each side: where a client lacks the kind of tracker it gets the other's address."""
        def announce(client):
            return Tracker.url(self.kind if self.kind in client.trackers else client.trackers[0])
        base = os.path.join(folder, self.title.replace(', ', '-').replace(' ', '-'))
        if self.seeder.name == 'spate':
            made = base + '.made.torrent'
            subprocess.run([PROGRAM, 'create', self.data.path, '-o', made, '--v1', '--no-date', '--quiet',
                            '--piece-length', str(self.data.piece_length), '--source', self.title], check=True)
            info = Torrent(made).info
        else:
            info = self.data.info_of(self.title)
        self.for_seeder = Torrent.write(base + '.seed.torrent', info, announce(self.seeder))
        self.for_leecher = Torrent.write(base + '.leech.torrent', info, announce(self.leecher))
        self.hash = self.for_seeder.hash

    def phases(self):
        """How long each step took: seeder up, announced, leecher up, complete, stopped."""
        return ' '.join('%.1f' % (b - a) for a, b in zip(self.times, self.times[1:]))

    def run(self, world, tracker):
        """Lines about what went wrong; none: it passed.  Another client that does not get as far
        as telling the tracker that it seeds says nothing about ours: it is started afresh."""
        for left in (2, 1, 0):
            lines = self.run_once(world, tracker)
            never_seeded = len(self.times) == 2 and self.seeder.name != 'spate'
            if not lines or not never_seeded or not left:
                return lines

    def run_once(self, world, tracker):
        out = world.folder('out')
        peers = []
        try:
            seeder = self.seeder(world)
            peers.append(seeder)
            leecher = self.leecher(world)
            peers.append(leecher)
            if not self.for_seeder.matches(self.data.folder):
                return ['the torrent has other hashes than the data']
            self.times = [time.monotonic()]
            seeder.seed(self.for_seeder, self.data.folder)
            self.times.append(time.monotonic())
            tracker.wait_seed(self.hash, seeder)
            self.times.append(time.monotonic())
            leecher.leech(self.for_leecher, out)
            self.times.append(time.monotonic())
            leecher.wait_complete(TIMEOUT)
            self.times.append(time.monotonic())
            leecher.stop()
            self.times.append(time.monotonic())
            lines = data.differences(self.data.path, os.path.join(out, self.for_leecher.name),
                                     leecher.leaves_out_empty_files)
        except Exception as error:  # whatever it was, the others go on
            lines = ['%s: %s' % (type(error).__name__, error)]
            for peer in peers:
                lines += ['%s %s| %s' % (peer.name, peer.ip, line) for line in peer.log_tail()]
        finally:
            for peer in peers:
                peer.stop()
        if not lines:
            shutil.rmtree(out)
        return lines


def matrix(ours, others, sets, quick):
    """All cases; of quick ones each data set and kind of tracker still comes up for each direction."""
    names, cases, turn = list(sets), [], 0
    for other in others:
        for seeder, leecher in ((other, ours), (ours, other)):
            if quick:
                cases.append(Case(seeder, leecher, ('http', 'udp')[(turn // 2 + turn) % 2], sets[names[turn % len(names)]]))
                turn += 1
            else:
                cases += [Case(seeder, leecher, kind, sets[name]) for name in names for kind in ('http', 'udp')]
    return cases


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument('names', nargs='*')
    parser.add_argument('--quick', action='store_true')
    parser.add_argument('--jobs', type=int, default=8)
    parser.add_argument('--self', dest='ours', default='spate', choices=sorted(ALL))
    parser.add_argument('--list', action='store_true')
    args = parser.parse_args()
    for name in args.names:
        if name not in ALL:
            parser.error('no such client: ' + name)
    if args.ours == 'spate' and not os.access(PROGRAM, os.X_OK):
        print('1..0 # SKIP %s is not built' % PROGRAM)
        return 0
    worlds.enter()
    with worlds.World('interop') as world:
        sets = data.make_all(os.path.join(world.dir, 'data'))
        others = [ALL[name] for name in args.names or FOREIGN]
        cases = matrix(ALL[args.ours], others, sets, args.quick)
        if args.list:
            print('\n'.join(case.title for case in cases))
            return 0
        print('1..%d' % len(cases), flush=True)
        torrents = world.folder('torrents')
        for case in cases:
            case.make_torrents(torrents)
        tracker = Tracker(world, [case.hash for case in cases])
        lock, failed, number = threading.Lock(), [], [0]

        def one(case):
            began = time.monotonic()
            lines = case.run(world, tracker)
            with lock:
                number[0] += 1
                took = time.monotonic() - began
                print('%s %d - %s # %.1f s (%s)' % (
                    'not ok' if lines else 'ok', number[0], case.title, took, case.phases()))
                for line in lines:
                    print('# ' + line)
                sys.stdout.flush()
                if lines:
                    failed.append(case.title)
        with ThreadPoolExecutor(args.jobs) as pool:
            list(pool.map(one, cases))
        world.keep |= bool(failed)
        return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
