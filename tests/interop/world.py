"""A private world for one test run: network, processes and files that nothing leaves.

The script starts itself again inside new network, mount and process namespaces (root is needed:
sudo is asked where we are not root).  Inside there is one bridge; every client gets a network
namespace of its own with one address on that bridge, because clients refuse loopback addresses
and a second client on the same address.  There is no way out of the bridge.  When the first
process ends, however it ends, the kernel kills all others with it.
"""
import atexit
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

MARK = 'SPATE_PRIVATE_WORLD'
GATE = '10.77.0.1'  # the test itself and its trackers


def enter():
    """Returns inside the private world; call it before anything else."""
    if os.environ.get(MARK) == '1':
        return
    argv = ['unshare', '--net', '--mount', '--pid', '--fork', '--kill-child', '--mount-proc',
            'env', MARK + '=1', '/usr/bin/python3', os.path.abspath(sys.argv[0]), *sys.argv[1:]]
    if os.geteuid() != 0:
        argv = ['sudo', '--preserve-env=SPATE,KEEP', *argv]
    os.execvp(argv[0], argv)


def run(*argv):
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)


class Host:
    """One address with its own network namespace."""

    def __init__(self, world, number):
        self.world = world
        self.ns = 'n%d' % number
        self.ip = '10.77.%d.%d' % (1 + number // 250, 1 + number % 250)
        inside, outside = 'eth0', 'v%d' % number
        run('ip', 'netns', 'add', self.ns)
        run('ip', 'link', 'add', outside, 'master', 'br0', 'up', 'type', 'veth',
            'peer', 'name', inside, 'netns', self.ns)
        batch = 'link set lo up\naddr add %s/16 dev eth0\nlink set eth0 up\nroute add default dev eth0\n' % self.ip
        subprocess.run(['ip', '-n', self.ns, '-batch', '-'], input=batch.encode(), check=True)

    def argv(self, argv):
        """nsenter becomes the program itself, so that its pid is the program's."""
        return ['nsenter', '--net=/run/netns/' + self.ns, *argv]

    def sent(self):
        """Bytes that left its interface so far, headers included."""
        said = subprocess.run(['ip', '-json', '-stats', 'link', 'show', 'v' + self.ns[1:]],
                              check=True, stdout=subprocess.PIPE).stdout
        return json.loads(said)[0]['stats64']['rx']['bytes']

    def gone(self):
        subprocess.run(['ip', 'netns', 'del', self.ns], stderr=subprocess.DEVNULL)


class Loopback:
    """In place of a Host where all share 127.0.0.1, as measuring does: nothing between but the loopback."""
    ip = '127.0.0.1'

    def argv(self, argv):
        return argv

    def gone(self):
        pass


class World:
    """with World('cases') as world: ...  Files go with it unless world.keep is set."""

    def __init__(self, name, network=True):
        self.keep = bool(os.environ.get('KEEP'))
        self.dir = tempfile.mkdtemp(prefix='spate-%s-' % name)
        os.chmod(self.dir, 0o755)
        self.lock = threading.Lock()
        self.count = 0
        self.running = []
        run('mount', '-t', 'tmpfs', 'tmpfs', '/run')
        os.mkdir('/run/netns')
        run('ip', 'link', 'set', 'lo', 'up')
        if network:
            run('ip', 'link', 'add', 'br0', 'up', 'type', 'bridge')
            run('ip', 'addr', 'add', GATE + '/16', 'dev', 'br0')
        atexit.register(self.end)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    def host(self):
        with self.lock:
            self.count += 1
            return Host(self, self.count)

    def folder(self, name):
        """A new empty folder."""
        with self.lock:
            path = os.path.join(self.dir, name)
            extra = 0
            while os.path.exists(path):
                extra += 1
                path = os.path.join(self.dir, '%s.%d' % (name, extra))
            os.makedirs(path)
            return path

    def popen(self, argv, log, **options):
        with open(log, 'ab') as out:
            options.setdefault('stdout', out)
            process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=out, **options)
        with self.lock:
            self.running.append(process)
        return process

    def reap(self, process, sig=signal.SIGTERM, patience=10):
        """Ends one process; gives its exit status."""
        if process.poll() is None:
            process.send_signal(sig)
            try:
                process.wait(patience)
            except subprocess.TimeoutExpired:
                process.kill()
        status = process.wait()
        with self.lock:
            if process in self.running:
                self.running.remove(process)
        return status

    def end(self):
        atexit.unregister(self.end)
        for process in list(self.running):
            if process.poll() is None:
                process.kill()
            process.wait()
        self.running = []
        with open('/proc/self/mounts') as file:
            mounted = [line.split()[1] for line in file]
        for path in mounted:
            if path.startswith(self.dir + '/') and not self.keep:
                subprocess.run(['umount', '-l', path])
        if self.keep:
            print('# kept: ' + self.dir, flush=True)
        else:
            shutil.rmtree(self.dir, ignore_errors=True)


def wait_for(what, question, timeout, alive=None, step=0.05):
    """Asks until the answer is true; TimeoutError names `what`.  alive() may raise to end it early."""
    end = time.monotonic() + timeout
    while True:
        answer = question()
        if answer:
            return answer
        if alive:
            alive()
        if time.monotonic() > end:
            raise TimeoutError('not within %d s: %s' % (timeout, what))
        time.sleep(step)
