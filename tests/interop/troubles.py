"""What goes wrong around a download, and how it ends: no room for the state, a check cut short, something
in the way, no descriptors left, trackers that are told or do not answer.

usage: troubles.py [--only NAME]
"""
import http.server
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import data
import report as reports
from bcode import Torrent, make_info
from peers.source import Source
from peers.spate import Spate
from world import GATE, wait_for

SIZE, RATE = 16 * data.MIB, 8 * data.MIB


class Tracker:
    """Notes the events it is told; "stopped" is answered after a while."""

    def __init__(self, patience):
        tracker = self
        self.told = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_GET(self):
                event = re.search(r'event=(\w+)', self.path)
                tracker.told.append(event[1] if event else '')
                if event and event[1] == 'stopped':
                    time.sleep(patience)
                body = b'd8:intervali1800e5:peers0:e'
                self.send_response(200)
                self.send_header('Content-Length', str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self.server = http.server.ThreadingHTTPServer((GATE, 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = 'http://%s:%d/announce' % self.server.server_address


def small_disk(path, size):
    os.makedirs(path, exist_ok=True)
    subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=%d' % size, 'tmpfs', path], check=True)


def cpu_seconds(process):
    with open('/proc/%d/stat' % process.pid) as file:
        fields = file.read().rsplit(')', 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


class Troubles:
    def __init__(self, world, report):
        self.world, self.report = world, report
        self.torrent, self.folder = reports.one_file(world, 'trouble', SIZE)
        self.source = Source(world, up=RATE)
        self.source.seed(self.torrent, self.folder)

    def finishes(self, peer, out, what):
        wrong = []
        try:
            peer.wait_complete(60)
        except Exception as error:
            wrong.append(str(error))
        wrong += data.differences(os.path.join(self.folder, self.torrent.name), os.path.join(out, self.torrent.name))
        if not self.report.claim(not wrong, what + ''.join(': ' + w for w in wrong)):
            self.report.tail(peer)

    def peer(self, *options):
        return Spate(self.world, options=['--peer', self.source.address, *options])

    def state_disk_full(self):
        with self.peer() as peer:
            small_disk(peer.state, 300 * 1024)
            out = self.world.folder('out')
            peer.leech(self.torrent, out)
            wait_for('some state', lambda: peer.claims(self.torrent), 20, peer.alive)
            try:
                with open(os.path.join(peer.state, 'filler'), 'wb') as filler:
                    while True:
                        filler.write(bytes(1024))
                        filler.flush()
            except OSError:
                pass
            self.finishes(peer, out, 'a state that cannot be saved stops no download')
            said = peer.events('warning')
            self.report.claim(len(said) == 1 and 'full' in said[0]['text'], 'it is said once: %s'
                              % [e['text'] for e in said])

    def state_damaged(self):
        with self.peer() as peer:
            os.makedirs(peer.state)
            with open(os.path.join(peer.state, 'state.db'), 'wb') as file:
                file.write(os.urandom(20000))
            out = self.world.folder('out')
            peer.leech(self.torrent, out)
            self.finishes(peer, out, 'a damaged state stops no download')
            self.report.claim(any('state.db.damaged' in e['text'] for e in peer.events('warning')),
                              'it says where it has put it')
            self.report.claim(len(peer.claims(self.torrent)) == self.torrent.piece_count, 'a new one was begun')

    def state_in_use(self):
        with self.peer('--down', '1M') as one, self.peer() as two:
            out = self.world.folder('out')
            one.leech(self.torrent, out)
            wait_for('its state', lambda: os.path.exists(os.path.join(one.state, 'state.db')), 20, one.alive)
            two.state = one.state
            two.leech(self.torrent, self.world.folder('out'))
            status = two.process.wait(20)
            text = ' '.join(two.log_tail())
            self.report.claim(status == 1 and '--no-state' in text and str(one.process.pid) in text,
                              'a second process says who has the state, and what to do: %s' % text)

    def check_interrupted(self):
        """What was claimed stays claimed."""
        folder = self.world.folder('zeros')
        path = os.path.join(folder, 'zeros.bin')
        with open(path, 'wb') as file:
            file.truncate(1 << 30)
        torrent = Torrent.write(os.path.join(self.world.dir, 'zeros.torrent'), make_info(path, 4 * data.MIB))
        peer = Spate(self.world)
        peer.leech(torrent, folder)
        peer.wait_complete(60)
        before = peer.claims(torrent)
        peer.leech(torrent, folder, '--check')
        time.sleep(0.2)
        peer.process.send_signal(signal.SIGINT)
        status = peer.process.wait(20)
        after = peer.claims(torrent)
        self.report.claim(status in (0, 130) and len(before) == torrent.piece_count and after == before,
                          'an interrupted check (ended with %d) takes no claim back: %d of %d'
                          % (status, len(after), len(before)))

    def in_the_way(self):
        with self.peer() as peer:
            out = self.world.folder('out')
            os.makedirs(os.path.join(out, self.torrent.name))
            peer.leech(self.torrent, out)
            status = peer.process.wait(20)
            text = ' '.join(peer.log_tail())
            self.report.claim(status == 1 and 'in the way' in text, 'a directory in place of the file is told')

    def prealloc(self):
        with self.peer('--prealloc') as peer:
            out = self.world.folder('out')
            small_disk(out, SIZE // 2)
            peer.leech(self.torrent, out)
            message = wait_for('a message', lambda: peer.events('error'), 20, peer.alive)[0]
            subprocess.run(['mount', '-o', 'remount,size=%d' % (2 * SIZE), out], check=True)
            self.finishes(peer, out, 'no room to reserve ("%s"): goes on once there is' % message['text'])

    def read_only(self):
        with self.peer() as peer:
            out = self.world.folder('out')
            subprocess.run(['mount', '--bind', self.folder, out], check=True)
            subprocess.run(['mount', '-o', 'remount,bind,ro', out], check=True)
            peer.leech(self.torrent, out)
            self.finishes(peer, out, 'complete data on a read-only file system is complete')

    def few_descriptors(self):
        """The listener's queue stays full for longer: it waits without turning the loop."""
        with Spate(self.world) as peer:
            peer.seed(self.torrent, self.folder)
            peer.wait_event('complete', 20)  # its files are open
            subprocess.run(['prlimit', '--pid', str(peer.process.pid), '--nofile=48:48'], check=True)
            socks = [socket.create_connection((peer.ip, peer.port)) for _ in range(100)]
            time.sleep(0.5)
            before = cpu_seconds(peer.process)
            time.sleep(3)
            spent = cpu_seconds(peer.process) - before
            self.report.claim(spent < 0.6, 'without descriptors it waits: %.2f s of CPU in 3 s' % spent)
            for sock in socks:
                sock.close()
            time.sleep(1)
            out = self.world.folder('out')
            with Spate(self.world, options=['--peer', peer.address]) as other:
                other.leech(self.torrent, out)
                self.finishes(other, out, 'and serves once there are some again')

    def stop(self):
        for name, patience, signals, limit in (('SIGINT', 0, [signal.SIGINT], 1.5),
                                               ('SIGTERM', 0, [signal.SIGTERM], 1.5),
                                               ('a slow tracker', 60, [signal.SIGINT], 10),
                                               ('twice', 60, [signal.SIGINT] * 2, 2)):
            tracker = Tracker(patience)
            with self.peer('--down', '1M', '--tracker', tracker.url) as peer:
                peer.leech(self.torrent, self.world.folder('out'))
                wait_for('some state', lambda: peer.claims(self.torrent) and tracker.told, 20, peer.alive)
                began = time.monotonic()
                for one in signals:
                    peer.process.send_signal(one)
                    time.sleep(0.3 if len(signals) > 1 else 0)
                status = peer.process.wait(20)
                took = time.monotonic() - began
                self.report.claim(status == 130 and took < limit and tracker.told[-1] == 'stopped',
                                  '%s: ends with %d after %.2f s, tracker told %s' % (name, status, took, tracker.told))


ALL_TROUBLES = [n for n, f in vars(Troubles).items() if not n.startswith('_') and n not in ('finishes', 'peer')]


def body(world, report, args):
    troubles = Troubles(world, report)
    for name in [args.only] if args.only else ALL_TROUBLES:
        getattr(troubles, name)()


if __name__ == '__main__':
    sys.exit(reports.main(__doc__, 'troubles', body, (['--only'], {'choices': ALL_TROUBLES})))
