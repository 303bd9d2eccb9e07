"""A file system that is full half-way: the download pauses with a message, and goes on after room is made.

usage: disk_full.py
"""
import json
import os
import re
import subprocess
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import data
import report as reports
from peers.source import Source
from peers.spate import Spate
from world import wait_for

SIZE, ROOM, FILLER = 24 * data.MIB, 32 * data.MIB, 20 * data.MIB


def body(world, report, args):
    torrent, folder = reports.one_file(world, 'disk', SIZE)
    small = world.folder('small')
    subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=%d' % ROOM, 'tmpfs', small], check=True)
    filler = os.path.join(small, 'filler')
    with open(filler, 'wb') as file:
        os.posix_fallocate(file.fileno(), 0, FILLER)
    source = Source(world, up=16 * data.MIB)
    source.seed(torrent, folder)
    with Spate(world, options=['--peer', source.address]) as peer:
        peer.leech(torrent, small)
        is_message = lambda: [e for e in peer.events() if e.get('event') == 'error' and
                              re.search('space|full', json.dumps(e), re.I)]
        try:
            message = wait_for('a message about the full disk', is_message, 30, peer.alive)[-1]
        except Exception as error:
            report.claim(False, str(error))
            report.tail(peer)
            return
        report.claim(True, 'it says: ' + json.dumps(message))
        report.claim(torrent.name in json.dumps(message) or small in json.dumps(message) or 'torrent' in message,
                     'the message names what it is about')
        time.sleep(2)
        before = source.stats()['sent']
        time.sleep(3)
        report.claim(peer.process.poll() is None, 'it is alive and waits')
        report.claim(source.stats()['sent'] == before, 'it asks for nothing meanwhile')
        os.unlink(filler)
        began = time.monotonic()
        try:
            peer.wait_complete(90)
        except Exception as error:
            report.note(str(error))
            report.tail(peer)
        lines = data.differences(os.path.join(folder, torrent.name), os.path.join(small, torrent.name))
        report.claim(peer.process.poll() == 0 and not lines, 'after room was made it goes on: complete and identical'
                     + ''.join(': ' + l for l in lines))
        report.note('%.1f s after room was made; %.1f MiB came for %.1f'
                    % (time.monotonic() - began, source.stats()['sent'] / data.MIB, SIZE / data.MIB))
    source.stop()


if __name__ == '__main__':
    sys.exit(reports.main(__doc__, 'tmpfs', body))
