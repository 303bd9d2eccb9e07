"""ctorrent 1.3.4 (dnh3.3.2): the ancient peer, of before every extension."""
import os
import signal
import subprocess

from peers.base import Peer


class Ctorrent(Peer):
    name = 'ctorrent'
    trackers = ('http',)  # it knows no others; the other side still announces by either
    stop_signal = signal.SIGINT

    def launch(self, torrent, folder):
        self.done = os.path.join(self.home, 'complete')
        limits = (['-U', str(self.up // 1024)] if self.up else []) + (['-D', str(self.down // 1024)] if self.down else [])
        self.start(['ctorrent', '-e', '72', '-i', self.ip, '-p', str(self.port), '-X', 'touch ' + self.done,
                    '-s', os.path.join(folder, torrent.name), '-b', os.path.join(self.home, 'bitfield'),
                    *limits, torrent.path])

    def stop(self):
        # The first signal makes it write its cache and tell the tracker, which may take it 15 s
        # to begin; the second one ends the wait.
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(0.5)
            except subprocess.TimeoutExpired:
                pass
        super().stop()

    seed = launch
    leech = launch

    def is_complete(self):
        return os.path.exists(self.done)
