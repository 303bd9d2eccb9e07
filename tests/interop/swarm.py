"""One seed limited to 2 MiB/s, six leechers of ours and two foreign ones: all complete, and the seed
sends at most 1.5 copies.  What the seed sends is read from the counters of its network interface, so
it includes headers and what it says to the tracker.

usage: swarm.py [--self CLIENT] [--foreign NAME,NAME] [--size MIB] [--super-seed] [--kind http|udp]
"""
import os
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import data
import report as reports
from peers import ALL
from peers.opentracker import Tracker
from world import wait_for

RATE = 2 * data.MIB
OURS = 6
COPIES = 1.5


def body(world, report, args):
    ours, others = ALL[args.ours], [ALL[n] for n in args.foreign.split(',')]
    url = Tracker.url(args.kind)
    torrent, folder = reports.one_file(world, 'swarm', args.size * data.MIB, announce=url)
    tracker = Tracker(world, [torrent.hash])
    seed = ours(world, up=RATE)
    seed.seed(torrent, folder, *(['--super-seed'] if args.super_seed else []))
    tracker.wait_seed(torrent.hash, seed)
    sent_before, began = seed.host.sent(), time.monotonic()
    leechers, waiting = [], []
    for client in [ours] * OURS + others:
        peer = client(world)
        out = world.folder('out')
        peer.leech_and_stay(torrent, out)
        leechers.append(peer)
        waiting.append((peer, out))
    floor = args.size * data.MIB / RATE
    report.note('one copy takes the seed %.0f s' % floor)
    took = {}
    done = lambda: (took.update({p: time.monotonic() - began for p, _ in waiting
                                 if p not in took and p.is_complete()}), len(took) == len(waiting))[1]
    try:
        wait_for('all complete', done, 30 + 5 * floor, lambda: [p.alive() for p in leechers], step=0.2)
    except Exception as error:
        report.note(str(error))
    sent = seed.host.sent() - sent_before
    for peer, out in waiting:
        if not report.claim(peer in took, '%s %s completes (%.1f s)' % (peer.name, peer.ip, took.get(peer, 0))):
            report.tail(peer)
            continue
        peer.stop()
        lines = data.differences(os.path.join(folder, torrent.name), os.path.join(out, torrent.name))
        report.claim(not lines, '%s %s is identical%s' % (peer.name, peer.ip, ''.join(': ' + l for l in lines)))
    told = [e['uploaded'] for e in getattr(seed, 'events', list)() if 'uploaded' in e]
    if told:  # far less than was sent: its packets are small
        report.note('the seed itself counts %.2f copies of payload' % (told[-1] / torrent.length))
    copies = sent / torrent.length
    report.claim(copies <= COPIES, 'the seed sent %.2f copies (%.1f MiB of %d), at most %.1f'
                 % (copies, sent / data.MIB, args.size, COPIES))


if __name__ == '__main__':
    sys.exit(reports.main(__doc__, 'swarm', body,
                          (['--foreign'], {'default': 'transmission,aria2'}),
                          (['--size'], {'type': int, 'default': 48}),
                          (['--super-seed'], {'action': 'store_true'}),
                          (['--kind'], {'default': 'udp', 'choices': ['http', 'udp']})))
