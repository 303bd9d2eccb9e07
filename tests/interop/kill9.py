"""kill -9 at 20 random moments of one download from one slow source.

After each kill the pieces that the saved state claims are hashed on the disk: none may be wrong.  After
each restart the source notes which pieces it is asked for: none that was claimed.  In the end the data is
identical, and what came twice is no more than what was not yet durable at the kills.

usage: kill9.py [--kills N] [--seed N]
"""
import os
import random
import signal
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import data
import report as reports
from peers.source import Source
from peers.spate import Spate

SIZE, RATE, LONGEST = 96 * data.MIB, 4 * data.MIB, 1.8


def start(world, torrent, out, source, before):
    """A new process with the state and address of the one before."""
    peer = before or Spate(world, options=['--peer', source.address])
    peer.leech(torrent, out)
    return peer


def body(world, report, args):
    rng = random.Random(args.seed)
    report.note('seed %d' % args.seed)
    torrent, folder = reports.one_file(world, 'kill9', SIZE)
    out = world.folder('out')
    source = Source(world, up=RATE)
    source.seed(torrent, folder, '--asked')
    peer, claimed, wrong, again, lost, worst, kills = None, set(), [], [], [], 0, 0
    durable = 0
    for kills in range(1, args.kills + 1):
        connections, sent = source.stats()['connections'], source.stats()['sent']
        peer = start(world, torrent, out, source, peer)
        time.sleep(rng.uniform(0.05, LONGEST))
        if peer.process.poll() is not None:
            report.claim(False, 'still running when killed (ended with %d)' % peer.process.returncode)
            report.tail(peer)
            return
        os.kill(peer.process.pid, signal.SIGKILL)
        peer.process.wait()
        time.sleep(0.25)  # the source writes its figures ten times a second
        stats = source.stats()
        asked = set().union(*stats['asked'][connections:], set())
        again += sorted(asked & claimed)
        now = peer.claims(torrent)
        good = torrent.good_pieces(out)
        wrong += sorted(now - good)
        lost += sorted(claimed - now)
        gained = sum(map(torrent.piece_len, now)) - durable
        durable += gained
        worst = max(worst, stats['sent'] - sent - gained)
        report.note('kill %2d: %3d of %d pieces claimed, %3d right on the disk, %5.1f MiB came, %5.1f became durable'
                    % (kills, len(now), torrent.piece_count, len(good), (stats['sent'] - sent) / data.MIB,
                       gained / data.MIB))
        claimed = now
    report.claim(kills == args.kills and len(claimed) < torrent.piece_count,
                 '%d kills, all before the end' % kills)
    report.claim(len(claimed) > 0, 'something became durable before the last kill (%d pieces)' % len(claimed))
    report.claim(not wrong, 'no piece is claimed that is not on the disk and right%s' % (': %s' % wrong if wrong else ''))
    report.claim(not lost, 'no claim is ever taken back%s' % (': %s' % lost if lost else ''))
    connections = source.stats()['connections']
    peer = start(world, torrent, out, source, peer)
    peer.wait_complete(SIZE / RATE + 60)
    time.sleep(0.25)
    stats = source.stats()
    again += sorted(set().union(*stats['asked'][connections:], set()) & claimed)
    report.claim(not again, 'no claimed piece is asked for again%s' % (': %s' % again if again else ''))
    lines = data.differences(os.path.join(folder, torrent.name), os.path.join(out, torrent.name))
    report.claim(not lines, 'identical' + ''.join(': ' + l for l in lines))
    report.note('%.1f MiB came for %.1f; at most %.1f MiB were not durable at a kill'
                % (stats['sent'] / data.MIB, SIZE / data.MIB, worst / data.MIB))


if __name__ == '__main__':
    sys.exit(reports.main(__doc__, 'kill9', body,
                          (['--kills'], {'type': int, 'default': 20}),
                          (['--seed'], {'type': int, 'default': random.SystemRandom().randrange(1 << 31)})))
