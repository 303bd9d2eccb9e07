"""Message stream encryption with other clients: our four policies against each of their settings, either
side dialling; and a flood of garbage handshakes beside a download.

usage: mse.py [--quick] [--only PART] [--rate N]
Who cannot agree must not connect; who can has to, also where the first way is refused.
"""
import os
import random
import socket
import struct
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import data
import report as reports
from peers import ALL
from peers.opentracker import Tracker

SIZE = 2 * data.MIB
TIMEOUT, NEVER = 40, 6  # seconds: to complete in; after which it counts as not connected
POLICIES = ('off', 'allow', 'prefer', 'require')

# in_enc_policy, out_enc_policy: 0 forced, 1 enabled, 2 disabled; allowed_enc_level: 1 plain, 2 RC4, 3 both
LIBTORRENT = {
    'disabled': 'in_enc_policy=2 out_enc_policy=2',
    'enabled': 'in_enc_policy=1 out_enc_policy=1 allowed_enc_level=3',
    'enabled-rc4': 'in_enc_policy=1 out_enc_policy=1 allowed_enc_level=3 prefer_rc4=1',
    'forced-rc4': 'in_enc_policy=0 out_enc_policy=0 allowed_enc_level=2',
    'forced-plain': 'in_enc_policy=0 out_enc_policy=0 allowed_enc_level=1',
}
TRANSMISSION = {'tolerated': 0, 'preferred': 1, 'required': 2}


def agree(policy, setting):
    """Whether there is a way that both take."""
    if policy == 'off':
        return not setting.startswith('forced') and setting != 'required'
    if policy == 'require':
        return setting not in ('disabled', 'forced-plain')
    return True


class Case:
    def __init__(self, world, client, setting, policy, we_dial):
        self.client, self.setting, self.policy, self.we_dial = client, setting, policy, we_dial
        self.title = '%s %s, ours %s, %s' % (client, setting, policy, 'we dial' if we_dial else 'they dial')
        # Transmission that only tolerates it never begins with it, nor tries it when refused.
        self.good = agree(policy, setting) and (we_dial or (setting, policy) != ('tolerated', 'require'))
        url = None if we_dial or client == 'libtorrent' else Tracker.url('http')
        self.torrent, self.folder = reports.one_file(
            world, self.title.replace(', ', '-').replace(' ', '-'), SIZE, announce=url, seed=hash(self.title) % 99991)

    def foreign(self, world, *options):
        if self.client == 'transmission':
            kind = type('T', (ALL['transmission'],), {'encryption': TRANSMISSION[self.setting]})
            return kind(world)
        peer = ALL['libtorrent'](world)
        launch, mode = peer.launch, LIBTORRENT[self.setting].split()
        peer.seed = lambda torrent, folder: (launch(torrent, folder, *mode), peer.wait_complete(30))
        peer.leech = lambda torrent, folder: launch(torrent, folder, *mode, *options)
        return peer

    def run(self, world, tracker):
        ours = ALL['spate'](world, options=['--encrypt', self.policy])
        peers, out = [ours], world.folder('out')
        try:
            other = self.foreign(world, 'peers=' + ours.address)
            peers.append(other)
            seeder, leecher = (other, ours) if self.we_dial else (ours, other)
            seeder.seed(self.torrent, self.folder)
            if self.we_dial:
                seeder.wait_port()
                leecher.leech(self.torrent, out, '--peer', seeder.address)
            else:
                seeder.wait_port()
                if self.client == 'transmission':
                    tracker.wait_seed(self.torrent.hash, seeder)
                leecher.leech(self.torrent, out)
            began = time.monotonic()
            try:
                leecher.wait_complete(TIMEOUT if self.good else NEVER)
                done = True
            except TimeoutError:
                done = False
            self.took = time.monotonic() - began
            if done != self.good:
                return ['complete' if done else 'not complete within %d s' % TIMEOUT] + leecher.log_tail() + seeder.log_tail()
            leecher.stop()
            return data.differences(os.path.join(self.folder, self.torrent.name),
                                    os.path.join(out, self.torrent.name)) if done else []
        except Exception as error:
            return ['%s: %s' % (type(error).__name__, error)] + [l for p in peers for l in p.log_tail()]
        finally:
            for peer in peers:
                peer.stop()


def matrix(world, report, args):
    cases = [Case(world, client, setting, policy, we_dial)
             for client, settings in (('libtorrent', LIBTORRENT), ('transmission', TRANSMISSION))
             for setting in settings for policy in POLICIES for we_dial in (True, False)]
    if args.quick:
        cases = cases[::5]
    tracker = Tracker(world, [c.torrent.hash for c in cases])
    lock = threading.Lock()

    def one(case):
        lines = case.run(world, tracker)
        with lock:
            report.claim(not lines, '%s: %s (%.1f s)' % (case.title, 'works' if case.good else 'never connects',
                                                          getattr(case, 'took', 0)))
            for line in lines:
                report.note(line)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(one, cases))


# ---- a flood ----

def flooder(ip, port, rate, seconds):
    """Opens rate streams a second that begin like MSE and go nowhere; tells how many it opened, and how many were answered."""
    rng, held, opened, answered, began = random.Random(1), [], 0, 0, time.monotonic()
    noise = rng.randbytes(1 << 16)
    while (now := time.monotonic()) < began + seconds:
        due = int((now - began) * rate) - opened
        if due <= 0:
            time.sleep(0.001)
        for _ in range(max(0, min(due, 50))):
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
            sock.setblocking(False)
            sock.bind(('10.77.98.%d' % (1 + opened % 250), 0))
            sock.connect_ex((ip, port))
            held.append((now, sock, False))
            opened += 1
        keep = []
        for at, sock, sent in held:  # a key at once, noise after our answer, the end
            try:
                start = rng.randrange(1 << 15)
                if not sent:
                    sock.send(noise[start:start + 300])
                    sent = True
                    keep.append((at, sock, sent))
                elif now - at > 0.05:
                    answered += len(sock.recv(1000)) >= 96
                    sock.send(noise[start:start + 700])
                    sock.close()
                else:
                    keep.append((at, sock, sent))
            except BlockingIOError:  # not connected yet, or not answered
                if now - at < 1:
                    keep.append((at, sock, sent))
            except OSError:
                sock.close()
        held = keep
    print(opened, answered)


def download(world, size, limit, flood_rate=0):
    """Bytes a second of a limited download between two of ours, enciphered; and streams of the flood a
    second, those answered."""
    torrent, folder = reports.one_file(world, 'flood%d' % flood_rate, size, piece_length=data.MIB)
    options = ['--encrypt', 'prefer']
    with ALL['spate'](world, options=options) as seed, ALL['spate'](world, down=limit, options=options) as leech:
        seed.seed(torrent, folder)
        seed.wait_port()
        flooded, out = (0, 0), world.folder('out')
        began = time.monotonic()
        leech.leech(torrent, out, '--peer', seed.address)
        leech.wait_port()
        if flood_rate:
            process = subprocess.Popen([sys.executable, os.path.abspath(__file__), '__flood', leech.ip,
                                        str(leech.port), str(flood_rate), str(size / limit * 0.9)],
                                       stdout=subprocess.PIPE)
        leech.wait_complete(20 + 4 * size / limit)
        took = time.monotonic() - began
        if flood_rate:
            flooded = [int(n) / (size / limit * 0.9) for n in process.communicate()[0].split()]
    return size / took, flooded


def flood(world, report, args):
    limit = 50 * data.MIB
    size = (200 if args.quick else 500) * data.MIB
    subprocess.run(['ip', 'addr', 'add', '10.77.98.1/16', 'dev', 'br0'], check=False)
    for i in range(1, 251):
        subprocess.run(['ip', 'addr', 'add', '10.77.98.%d/32' % i, 'dev', 'br0'], check=False,
                       stderr=subprocess.DEVNULL)
    calm, _ = download(world, size, limit)
    under, flooded = download(world, size, limit, args.rate)
    report.note('calm %.1f MiB/s; under %.0f garbage handshakes a second, %.0f of them answered, %.1f MiB/s'
                % (calm / data.MIB, *flooded, under / data.MIB))
    report.claim(under >= 0.9 * calm, 'a flood leaves a limited download %.0f %% of its rate' % (100 * under / calm))


def body(world, report, args):
    if args.only in ('', 'matrix'):
        matrix(world, report, args)
    if args.only in ('', 'flood'):
        flood(world, report, args)


if __name__ == '__main__' and sys.argv[1:2] == ['__flood']:
    flooder(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), float(sys.argv[5]))
elif __name__ == '__main__':
    sys.exit(reports.main(__doc__, 'mse', body,
                          (['--quick'], {'action': 'store_true'}),
                          (['--only'], {'default': '', 'choices': ['', 'matrix', 'flood']}),
                          (['--rate'], {'type': float, 'default': 5000})))
