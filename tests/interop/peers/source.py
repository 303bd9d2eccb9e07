"""tests/bench/source.py as a peer: a seeder that can be slow, or lie."""
import json
import os

from peers.base import Peer
from world import wait_for

PROGRAM = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', 'bench', 'source.py')


class Source(Peer):
    name = 'source'

    def seed(self, torrent, folder, *options):
        self.stats_path = os.path.join(self.home, 'stats')
        self.start(['/usr/bin/python3', PROGRAM, self.ip, str(self.port), torrent.path,
                    os.path.join(folder, torrent.name), '--up', str(self.up), '--stats', self.stats_path, *options])
        wait_for('the source runs', lambda: os.path.exists(self.stats_path), 20, self.alive)

    def stats(self):
        with open(self.stats_path) as file:
            return json.load(file)
