"""Claims as TAP, figures as comments; the frame that all scripts share."""
import argparse
import os
import traceback

import world as worlds
from bcode import Torrent, make_info
from data import KIB, make_one
from peers import ALL
from peers.spate import PROGRAM


class Report:
    def __init__(self):
        self.count = self.failed = 0

    def claim(self, good, text):
        self.count += 1
        self.failed += not good
        print('%s %d - %s' % ('ok' if good else 'not ok', self.count, text), flush=True)
        return good

    def note(self, text):
        print('# ' + text, flush=True)

    def tail(self, *peers):
        for peer in peers:
            for line in peer.log_tail():
                self.note('%s %s| %s' % (peer.name, peer.ip, line))


def one_file(world, name, size, piece_length=256 * KIB, announce=None, seed=7):
    """(torrent, folder that holds its data): one random file."""
    folder = world.folder('data')
    path = make_one(folder, name + '.bin', size, seed)
    info = make_info(path, piece_length)
    return Torrent.write(os.path.join(world.dir, name + '.torrent'), info, announce), folder


def main(doc, name, body, *options):
    """Parses, enters the private world, runs body(world, report, args); options are add_argument's."""
    parser = argparse.ArgumentParser(usage=doc)
    parser.add_argument('--self', dest='ours', default='spate', choices=sorted(ALL),
                        help='another client in our place')
    for flags, settings in options:
        parser.add_argument(*flags, **settings)
    args = parser.parse_args()
    if args.ours == 'spate' and not os.access(PROGRAM, os.X_OK):
        print('1..0 # SKIP %s is not built' % PROGRAM)
        return 0
    worlds.enter()
    report = Report()
    with worlds.World(name) as world:
        try:
            body(world, report, args)
        except Exception as error:
            for line in traceback.format_exc().splitlines():
                report.note(line)
            report.claim(False, '%s: %s' % (type(error).__name__, error))
        world.keep |= report.failed > 0
    print('1..%d' % report.count)
    return 1 if report.failed else 0
