"""Peers find each other: by what peers tell (BEP 11), and by calling out on the network (BEP 14).

pex   six of ours, transmission and libtorrent stand in a line, each told of the one before it alone;
      all must come to know most of the others.  One more peer, which is this test, is connected to
      ours as well and reads the messages: contents, sizes, and how far they are apart.
lsd   ours among themselves, and ours with libtorrent and transmission, told of nobody at all; over
      IPv4 and, between ours, over IPv6; and a private torrent, of which nobody may hear.

usage: pex.py [--part pex|lsd] [--minutes N]
"""
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import bcode
import data
import report as reports
from peers.libtorrent_peer import Libtorrent
from peers.spate import QUIET_NET, Spate
from peers.transmission import Transmission
from world import wait_for

OURS = 6
RATE = 32 * data.KIB  # slow, so that everybody wants something for all of the test


class Open(Spate):
    """Ours with discovery on."""

    def peers(self):
        """How many it is connected to, as its last line of progress says."""
        lines = self.events('progress')
        return lines[-1].get('peers', 0) if lines else 0


class OpenPex(Open):
    net = [o for o in QUIET_NET if o != '--no-pex']


class OpenLsd(Open):
    net = [o for o in QUIET_NET if o != '--no-lsd']


class OpenLibtorrent(Libtorrent):
    def peers(self):
        lines = self.log_tail(1)
        try:
            return json.loads(lines[-1])['peers'] if lines else 0
        except ValueError:
            return 0


class OpenTransmission(Transmission):
    opens = 'pex-enabled'

    def launch(self):
        dump = json.dump
        json.dump = lambda value, file: dump({**value, self.opens: True} if 'peer-port' in value else value, file)
        try:
            super().launch()
        finally:
            json.dump = dump

    def peers(self):
        reply = self.rpc('torrent-get', fields=['peersConnected'])
        return reply['arguments']['torrents'][0]['peersConnected'] if reply else 0


class OpenLpd(OpenTransmission):
    opens = 'lpd-enabled'


# ---- the peer that reads ----

def contacts(text):
    return ['%s:%d' % (socket.inet_ntoa(text[i:i + 4]), struct.unpack('>H', text[i + 4:i + 6])[0])
            for i in range(0, len(text), 6)]


class Reader(threading.Thread):
    """A peer without anything, connected to one of ours: keeps all exchange messages it gets."""

    def __init__(self, address, info_hash):
        super().__init__(daemon=True)
        host, port = address.rsplit(':', 1)
        self.sock = socket.create_connection((host, int(port)), 5)
        self.messages = []  # (when, bytes, {key: value})
        reserved = bytes([0, 0, 0, 0, 0, 0x10, 0, 0])
        self.sock.sendall(b'\x13BitTorrent protocol' + reserved + info_hash + b'-PX0001-' + os.urandom(12))
        hello = bcode.encode({'m': {'ut_pex': 7}, 'p': 4000, 'v': 'reader'})
        self.say(b'\x14\x00' + hello)
        self.start()

    def say(self, body):
        self.sock.sendall(struct.pack('>I', len(body)) + body)

    def take(self, count):
        got = b''
        while len(got) < count:
            part = self.sock.recv(count - len(got))
            if not part:
                raise EOFError
            got += part
        return got

    def run(self):
        try:
            self.sock.settimeout(200)
            self.take(68)
            while True:
                length = struct.unpack('>I', self.take(4))[0]
                body = self.take(length)
                if body[:2] == b'\x14\x07':
                    self.messages.append((time.monotonic(), length - 2, bcode.decode(body[2:])))
                    self.say(b'')  # alive
        except (EOFError, OSError):
            pass

    def judge(self, report, who):
        known = set()
        good = True
        for _, _, m in self.messages:
            added = contacts(m.get(b'added', b'')) + ['six'] * (len(m.get(b'added6', b'')) // 18)
            dropped = contacts(m.get(b'dropped', b''))
            good &= len(added) <= 50 and len(dropped) <= 50 and len(set(added)) == len(added)
            good &= not set(added) & set(dropped) and set(dropped) <= known
            good &= len(m.get(b'added.f', b'')) == len(m.get(b'added', b'')) // 6
            known = (known | set(added)) - set(dropped)
        whens = [when for when, _, _ in self.messages]
        gaps = [b - a for a, b in zip(whens, whens[1:])]
        report.claim(good and self.messages, '%s: %d messages to a reader, each within the rules' % (who, len(whens)))
        report.claim(all(gap >= 60 for gap in gaps), '%s: at most one a minute (%s s apart)'
                     % (who, ', '.join('%.1f' % gap for gap in gaps) or 'only one'))
        report.note('%s: bytes of each: %s; told of %d at the end'
                    % (who, ', '.join(str(size) for _, size, _ in self.messages), len(known)))
        return known


# ---- parts ----

def pex(world, report, minutes):
    torrent, folder = reports.one_file(world, 'line', 24 * data.MIB)
    line = []

    def told():
        return line[-1].address

    first = OpenPex(world, up=RATE)
    first.seed(torrent, folder)
    first.wait_port()
    line.append(first)
    for _ in range(OURS - 1):
        peer = OpenPex(world, up=RATE)
        peer.leech_and_stay(torrent, world.folder('out'), '--peer', told())
        peer.wait_port()
        line.append(peer)
    foreign = OpenLibtorrent(world, up=RATE)
    foreign.leech(torrent, world.folder('out'), 'peers=' + told(), 'pex=1')
    line.append(foreign)
    other = OpenTransmission(world, up=RATE)
    other.leech(torrent, world.folder('out'))
    ours_last = OpenPex(world, up=RATE)  # it is told of both: transmission takes no address by hand
    ours_last.leech_and_stay(torrent, world.folder('out'), '--peer', told(), '--peer', other.address)
    line += [other, ours_last]
    for peer in line:
        peer.wait_port()
    readers = [(peer, Reader(peer.address, torrent.hash)) for peer in (line[1], ours_last)]

    everybody = len(line) - 1
    began = time.monotonic()
    seen = lambda: [peer.peers() for peer in line]
    try:
        wait_for('a mesh', lambda: min(seen()) >= everybody - 1, 60 * minutes,
                 lambda: [peer.alive() for peer in line], step=1)
    except TimeoutError as error:
        report.note(str(error))
    took, counts = time.monotonic() - began, seen()
    for peer, count in zip(line, counts):
        report.claim(count >= everybody - 1, '%s %s is connected to %d, of %d others and a reader'
                     % (peer.name, peer.ip, count, everybody))
    report.note('after %.0f s' % took)
    wait_for('a second message', lambda: all(len(r.messages) >= 2 for _, r in readers)
             or time.monotonic() - began > took + 70, 80, step=1)
    for peer, reader in readers:
        known = reader.judge(report, '%s %s' % (peer.name, peer.ip))
        report.claim(len(known & {p.address for p in line}) >= everybody - 2,
                     '%s told the reader of the others' % peer.ip)
    for peer in line:
        peer.stop()


class Six:
    """An IPv6 address besides the other, for those that listen on it."""

    def __init__(self, peer):
        self.text = 'fd77::%x' % int(peer.host.ns[1:])
        subprocess.run(['ip', '-n', peer.host.ns, 'addr', 'add', self.text + '/64', 'dev', 'eth0', 'nodad'], check=True)


def pair(world, report, name, a, b, torrent, folder, timeout=90, meets=True):
    """a seeds, b downloads, nobody is told of the other."""
    out = world.folder('out')
    a.seed(torrent, folder)
    b.leech_and_stay(torrent, out)
    began = time.monotonic()
    try:
        wait_for('complete', b.is_complete, timeout, lambda: [a.alive(), b.alive()], step=0.1)
        met = True
    except TimeoutError:
        met = False
    report.claim(met == meets, '%s: %s after %.1f s' % (name, 'met' if met else 'did not meet', time.monotonic() - began))
    if met != meets:
        report.tail(a, b)
    a.stop()
    b.stop()


class LsdLibtorrent(OpenLibtorrent):
    def launch(self, torrent, folder, *options):
        super().launch(torrent, folder, *options, 'lsd=1')

    leech = launch


class SixLsd(OpenLsd):
    """On IPv6 alone."""

    def __init__(self, *args, **named):
        super().__init__(*args, **named)
        self.six = Six(self).text

    @property
    def address(self):
        return '[%s]:%d' % (self.six, self.port)


def lsd(world, report):
    torrent, folder = reports.one_file(world, 'near', 2 * data.MIB)
    pair(world, report, 'ours and ours', OpenLsd(world), OpenLsd(world), torrent, folder)
    pair(world, report, 'ours and ours, IPv6 alone', SixLsd(world), SixLsd(world), torrent, folder)
    pair(world, report, 'ours from libtorrent', LsdLibtorrent(world), OpenLsd(world), torrent, folder)
    pair(world, report, 'libtorrent from ours', OpenLsd(world), LsdLibtorrent(world), torrent, folder)
    pair(world, report, 'ours from transmission', OpenLpd(world), OpenLsd(world), torrent, folder)
    pair(world, report, 'without it', Spate(world), OpenLsd(world), torrent, folder, 15, meets=False)
    info = {**bcode.make_info(os.path.join(folder, torrent.name), 256 * data.KIB), 'private': 1}
    private = bcode.Torrent.write(os.path.join(world.dir, 'private.torrent'), info, None)
    pair(world, report, 'a private torrent', OpenLsd(world), OpenLsd(world), private, folder, 15, meets=False)


def body(world, report, args):
    if args.part != 'lsd':
        pex(world, report, args.minutes)
    if args.part != 'pex':
        lsd(world, report)


if __name__ == '__main__':
    sys.exit(reports.main(__doc__, 'pex', body,
                          (['--part'], {'default': 'all', 'choices': ['all', 'pex', 'lsd']}),
                          (['--minutes'], {'type': int, 'default': 6})))
