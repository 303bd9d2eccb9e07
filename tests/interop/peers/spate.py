"""The program under test."""
import json
import os
import signal
import subprocess

from peers.base import Peer
from world import wait_for

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), '..', '..', '..'))
PROGRAM = os.environ.get('SPATE') or os.path.join(ROOT, 'build', 'spate')
QUIET_NET = ['--no-dht', '--no-pex', '--no-lsd', '--no-utp', '--no-portmap']


class Spate(Peer):
    name = 'spate'
    stop_signal = signal.SIGINT
    listens = True
    net = QUIET_NET

    def __init__(self, world, up=0, down=0, options=(), host=None):
        super().__init__(world, up, down, host)
        self.options = list(options)
        self.events_path = os.path.join(self.home, 'events')
        self.state = os.path.join(self.home, 'state')

    def launch(self, command, torrent, folder, *options):
        limits = (['--up', str(self.up)] if self.up else []) + (['--down', str(self.down)] if self.down else [])
        argv = [PROGRAM, command, torrent.path, '--dir', folder, '--state', self.state, *(['--listen', self.address] if self.listens else []),
                '--json', *self.net, *limits, *self.options, *options]
        with open(self.events_path, 'ab') as out:
            self.start(argv, stdout=out)

    def seed(self, torrent, folder, *options):
        self.launch('seed', torrent, folder, *options)

    def leech(self, torrent, folder, *options):
        self.launch('get', torrent, folder, *options)

    def leech_and_stay(self, torrent, folder, *options):
        self.leech(torrent, folder, '--seed', *options)

    def claims(self, torrent):
        """The pieces that the saved state says are there."""
        if not os.path.isdir(self.state):
            return set()  # killed before it made any
        said = subprocess.run([PROGRAM, '__state', '--state', self.state], stdout=subprocess.PIPE, check=True,
                              cwd=self.home).stdout
        for line in said.splitlines():
            entry = json.loads(line)
            if entry['info_hash'] == torrent.hash.hex():
                bits = bytes.fromhex(entry['pieces'])
                return {i for i in range(8 * len(bits)) if bits[i >> 3] >> (7 - i % 8) & 1}
        return set()

    def events(self, kind=None):
        """What it said so far, oldest first."""
        found = []
        try:
            with open(self.events_path, errors='replace') as file:
                for line in file:
                    try:
                        event = json.loads(line)
                    except ValueError:
                        continue
                    if kind is None or event.get('event') == kind:
                        found.append(event)
        except FileNotFoundError:
            pass
        return found

    def wait_event(self, kind, timeout):
        return wait_for('%s says "%s"' % (self.name, kind), lambda: self.events(kind), timeout, self.alive)[-1]

    def wait_complete(self, timeout):
        """`get` without --seed is complete when it ends with 0; with it, when it says so."""
        if '--seed' in self.process.args or self.process.args[3] == 'seed':
            super().wait_complete(timeout)
            return
        wait_for('spate get ends', lambda: self.process.poll() is not None, timeout)
        if self.process.returncode != 0:
            raise AssertionError('spate get ended with %d' % self.process.returncode)

    def is_complete(self):
        return bool(self.events('complete'))

    def log_tail(self, lines=15):
        said = [json.dumps(e) for e in self.events() if e.get('event') != 'progress'][-lines:]
        return said + super().log_tail(lines)
