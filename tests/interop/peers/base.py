"""What every client can do, in the same words."""
import json
import os
import signal
import socket
import urllib.error
import urllib.request

from world import wait_for


class Died(Exception):
    """A client ended when it should not have."""


class Peer:
    """One running client with a private address and home.

    seed(torrent, folder) serves folder/<name>; leech(torrent, folder) downloads to folder/<name>;
    wait_complete(timeout) returns once the client itself says that it has everything; stop() ends it
    in its own clean way, so that all is on the disk.  up and down are bytes per second, 0 no limit.
    """
    name = '?'
    trackers = ('http', 'udp')
    leaves_out_empty_files = False  # its own fault, forgiven when it is the one that downloads
    stop_signal = signal.SIGTERM
    port = 6881

    def __init__(self, world, up=0, down=0, host=None):
        self.world, self.up, self.down = world, up, down
        self.host = host or world.host()
        self.ip = self.host.ip
        self.home = world.folder('home-%s-%s' % (self.name, self.ip))
        self.log = os.path.join(self.home, 'log')
        self.process = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    @property
    def address(self):
        return '%s:%d' % (self.ip, self.port)

    def start(self, argv, **options):
        env = {**os.environ, 'HOME': self.home, 'XDG_STATE_HOME': self.home, 'LC_ALL': 'C.UTF-8',
               **options.pop('env', {})}
        self.process = self.world.popen(self.host.argv(argv), self.log, env=env, cwd=self.home, **options)

    def alive(self):
        if self.process is None or self.process.poll() is not None:
            raise Died('%s ended with %s' % (self.name, self.process and self.process.returncode))

    def wait_complete(self, timeout):
        wait_for(self.name + ' has everything', self.is_complete, timeout, self.alive)

    def leech_and_stay(self, torrent, folder):
        self.leech(torrent, folder)

    def wait_port(self, port=None, timeout=20):
        """Until something accepts connections on the peer port."""
        def tried():
            try:
                socket.create_connection((self.ip, port or self.port), 1).close()
                return True
            except OSError:
                return False
        wait_for('%s listens' % self.name, tried, timeout, self.alive)

    def stop(self):
        if self.process:
            self.world.reap(self.process, self.stop_signal)
            self.process = None
        if self.host:
            self.host.gone()
            self.host = None

    def cpu_seconds(self):
        """Time on a processor so far, of all threads that live."""
        folder, total = '/proc/%d/task' % self.process.pid, 0
        for task in os.listdir(folder):
            with open('%s/%s/schedstat' % (folder, task)) as file:
                total += int(file.read().split()[0])
        return total / 1e9

    def memory(self, key='VmHWM'):
        for line in open('/proc/%d/status' % self.process.pid):
            if line.startswith(key + ':'):
                return int(line.split()[1]) * 1024
        return 0

    def log_tail(self, lines=15):
        try:
            with open(self.log, errors='replace') as file:
                return file.read().replace('\r', '\n').splitlines()[-lines:]
        except FileNotFoundError:
            return []


def http(url, data=None, headers={}, timeout=5):
    """The body, or None while nobody answers."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=timeout) as reply:
            return reply.read()
    except (OSError, urllib.error.URLError):
        return None


def http_json(url, value=None, headers={}):
    body = http(url, None if value is None else json.dumps(value).encode(), headers)
    return None if body is None else json.loads(body)
