"""Transfers over uTP alone: ours with ours, libtorrent and Transmission, each way, plain and enciphered;
and each transport found where the other is missing.

usage: utp.py [--self CLIENT] [--size MIB]
"""
import os
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import data
import report as reports
from peers.libtorrent_peer import Libtorrent
from peers.spate import QUIET_NET, Spate
from peers.transmission import Transmission

UTP_ALONE = ['enable_outgoing_utp=1', 'enable_incoming_utp=1', 'enable_outgoing_tcp=0', 'enable_incoming_tcp=0']


class SpateUtp(Spate):
    net = [o for o in QUIET_NET if o != '--no-utp'] + ['--no-tcp']


class SpateBoth(Spate):
    net = [o for o in QUIET_NET if o != '--no-utp'] + ['--utp']


class LibtorrentUtp(Libtorrent):
    def seed(self, torrent, folder, *options):
        self.launch(torrent, folder, *UTP_ALONE, *options)
        self.wait_complete(30)

    def leech(self, torrent, folder, *options):
        self.launch(torrent, folder, *UTP_ALONE, *options)


class TransmissionUtp(Transmission):
    utp = True


def transfer(world, report, what, seed, leech, torrent, folder, seed_options=(), leech_options=(), timeout=60):
    """seed_options, leech_options: functions of the other one's address."""
    out = world.folder('out')
    with seed, leech:
        seed.seed(torrent, folder, *[o(leech) for o in seed_options])
        began = time.monotonic()
        leech.leech(torrent, out, *[o(seed) for o in leech_options])
        try:
            leech.wait_complete(timeout)
        except Exception as error:
            report.claim(False, '%s: %s' % (what, error))
            report.tail(seed, leech)
            return
        took = time.monotonic() - began
        leech.stop()
        lines = data.differences(os.path.join(folder, torrent.name), os.path.join(out, torrent.name))
        report.claim(not lines, '%s: the same%s' % (what, ''.join(': ' + l for l in lines)))
        report.note('%.1f s, %.1f MB/s' % (took, torrent.length / took / 1e6))


def peer(other):
    return '--peer=' + other.address


def lt_peer(other):
    return 'peers=' + other.address


def body(world, report, args):
    torrent, folder = reports.one_file(world, 'utp', args.size * data.MIB)
    t = lambda what, *rest, **kw: transfer(world, report, what, *rest, torrent, folder, **kw)
    t('ours to ours', SpateUtp(world), SpateUtp(world), leech_options=[peer])
    t('ours to ours, enciphered', SpateUtp(world, options=['--encrypt=require']),
      SpateUtp(world, options=['--encrypt=require']), leech_options=[peer])
    t('libtorrent to ours', LibtorrentUtp(world), SpateUtp(world), leech_options=[peer])
    t('ours to libtorrent, which dials', SpateUtp(world), LibtorrentUtp(world), leech_options=[lt_peer])
    t('libtorrent, which dials, to ours', LibtorrentUtp(world), SpateUtp(world), seed_options=[lt_peer])
    t('ours, which dials, to libtorrent', SpateUtp(world), LibtorrentUtp(world), seed_options=[peer])
    t('Transmission to ours', TransmissionUtp(world), SpateUtp(world), leech_options=[peer])
    t('ours, which dials, to Transmission', SpateUtp(world), TransmissionUtp(world), seed_options=[peer])
    # One that has TCP alone, and one that has uTP alone, are both reached.
    t('ours finds TCP where uTP is missing', Spate(world), SpateBoth(world), leech_options=[peer])
    t('ours finds uTP where TCP is missing', SpateUtp(world), SpateBoth(world), leech_options=[peer])


if __name__ == '__main__':
    sys.exit(reports.main(__doc__, 'utp', body, (['--size'], {'type': int, 'default': 24})))
