"""webtorrent on node, from tests/interop/npm (./dev installs it); TCP alone."""
import json
import os
import shutil

from peers.base import Peer

HERE = os.path.dirname(os.path.abspath(__file__))


class Webtorrent(Peer):
    name = 'webtorrent'

    @staticmethod
    def is_installed():
        return bool(shutil.which('node')) and os.path.isdir(os.path.join(HERE, '..', 'npm', 'node_modules', 'webtorrent'))

    def seed(self, torrent, folder):
        self.leech(torrent, folder)
        self.wait_complete(30)
        self.wait_port()

    def leech(self, torrent, folder):
        self.start(['node', os.path.join(HERE, 'webtorrent_peer.mjs'), torrent.path, folder, str(self.port)])

    def is_complete(self):
        lines = self.log_tail(1)
        try:
            return bool(lines) and json.loads(lines[-1]).get('done', False)
        except ValueError:
            return False
