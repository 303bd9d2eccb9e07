"""One honest source and one that corrupts 2 % of its blocks: complete, identical, the liar alone is banned.

usage: liar.py [--corrupt P] [--rounds N]
"""
import json
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import data
import report as reports
from peers.source import Source
from peers.spate import Spate

SIZE, RATE = 48 * data.MIB, 8 * data.MIB


def body(world, report, args):
    torrent, folder = reports.one_file(world, 'liar', SIZE)
    for turn in range(args.rounds):
        honest, liar = Source(world, up=RATE), Source(world, up=RATE)
        honest.seed(torrent, folder)
        liar.seed(torrent, folder, '--corrupt', str(args.corrupt), '--seed', str(turn))
        out = world.folder('out')
        with Spate(world, options=['--peer', honest.address, '--peer', liar.address]) as peer:
            try:
                peer.leech(torrent, out)
                peer.wait_complete(3 * SIZE / RATE + 30)
            except Exception as error:
                report.note(str(error))
                report.tail(peer)
            lines = data.differences(os.path.join(folder, torrent.name), os.path.join(out, torrent.name))
            report.claim(peer.process.poll() == 0 and not lines, 'complete and identical' + ''.join(': ' + l for l in lines))
            banned = [json.dumps(e) for e in peer.events('banned')]
            report.claim(any(liar.ip + ':' in b or '"%s"' % liar.ip in b for b in banned), 'the liar is banned')
            report.claim(not any(honest.ip + ':' in b or '"%s"' % honest.ip in b for b in banned), 'the honest one is not')
            for line in banned:
                report.note(line)
        honest.stop()
        liar.stop()
        told, lied = honest.stats(), liar.stats()
        report.note('the liar sent %.1f MiB, %d of %d blocks wrong; the honest one %.1f MiB; %.1f %% more than the data'
                    % (lied['sent'] / data.MIB, lied['corrupted'], lied['blocks'], told['sent'] / data.MIB,
                       100 * (lied['sent'] + told['sent'] - SIZE) / SIZE))
        report.claim(lied['corrupted'] > 0, 'it did lie')


if __name__ == '__main__':
    sys.exit(reports.main(__doc__, 'liar', body,
                          (['--corrupt'], {'type': float, 'default': 0.02}),
                          (['--rounds'], {'type': int, 'default': 3})))
