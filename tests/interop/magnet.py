"""Magnets without a tracker: the metadata, then the data, from one peer, both ways with every client;
and a peer that sends wrong metadata beside an honest one.

usage: magnet.py [--quick] [NAME...]
"""
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import data
import report as reports
from bcode import Torrent, encode, make_info
from peers import ALL
from peers.metadata_liar import MetadataLiar
from peers.spate import Spate
from world import wait_for

NAMES = ['transmission', 'qbittorrent', 'aria2', 'rtorrent', 'libtorrent', 'webtorrent', 'spate']
TIMEOUT = 60


DEAD = 'http://10.77.0.1:9/announce'  # nobody answers; rtorrent takes no torrent without any


def make(world, name, pieces=1500):
    """A torrent whose info dictionary takes more than one piece of metadata."""
    folder = world.folder('data')
    path = data.make_one(folder, name + '.bin', pieces * 16 * data.KIB - 77, len(name))
    return Torrent.write(os.path.join(world.dir, name + '.torrent'), make_info(path, 16 * data.KIB), DEAD), folder


def same(report, torrent, folder, out, text):
    lines = data.differences(os.path.join(folder, torrent.name), os.path.join(out, torrent.name))
    return report.claim(not lines, text + ''.join(': ' + line for line in lines))


def we_get(world, report, client):
    text = 'spate gets a magnet from ' + client.name
    torrent, folder = make(world, 'get-' + client.name)
    out = world.folder('out')
    other, ours = client(world), None
    try:
        other.seed(torrent, folder)
        ours = Spate(world)
        ours.leech(torrent.magnet(other.address), out)
        ours.wait_complete(TIMEOUT)
        same(report, torrent, folder, out, text)
    except Exception as error:
        report.claim(False, '%s: %s' % (text, error))
        report.tail(*filter(None, (other, ours)))
    finally:
        other.stop()
        if ours:
            ours.stop()


def they_get(world, report, client):
    text = client.name + ' gets a magnet from spate'
    torrent, folder = make(world, 'give-' + client.name)
    out = world.folder('out')
    other, ours = client(world), Spate(world)
    try:
        other.leech(torrent.magnet(ours.address), out)
        # Not all know x.pe: we dial them as well.
        ours.seed(torrent, folder, '--peer', other.address)
        other.wait_complete(TIMEOUT)
        other.stop()
        same(report, torrent, folder, out, text)
    except Exception as error:
        report.claim(False, '%s: %s' % (text, error))
        report.tail(other, ours)
    finally:
        other.stop()
        ours.stop()


def again(world, report):
    """The second time nobody is needed."""
    torrent, folder = make(world, 'again')
    out = world.folder('out')
    seed = Spate(world)
    seed.seed(torrent, folder)
    seed.wait_port()
    get = Spate(world)
    get.leech(torrent.magnet(seed.address), out)
    get.wait_complete(TIMEOUT)
    seed.stop()
    get.process = None
    get.leech(torrent.magnet(), out)
    get.wait_complete(10)
    report.claim(len(get.events('metadata')) == 2, 'the metadata is kept: nobody is needed the second time')
    get.stop()


def liar(world, report):
    """An honest seed, and one that sends wrong metadata: of the same size, and of another."""
    torrent, folder = make(world, 'liar')
    out = world.folder('out')
    honest = Spate(world)
    liars = [MetadataLiar(world) for _ in range(2)]
    for n, one in enumerate(liars):
        one.lie(torrent, 977 * n)
    get = Spate(world)
    try:
        get.leech(torrent.magnet(*[one.address for one in liars], honest.address), out)
        # The honest one is late, or all might be there before a lie is seen to be one.
        wait_for('a liar is caught', lambda: get.events('banned'), TIMEOUT, get.alive)
        honest.seed(torrent, folder)
        get.wait_complete(TIMEOUT)
        same(report, torrent, folder, out, 'liars do not stop it')
        banned = [e['text'] for e in get.events('banned')]
        report.claim(not any(honest.ip + ':' in text for text in banned), 'the honest one is not banned')
        report.claim(any('wrong metadata' in text for text in banned), 'a liar is')
        for text in banned:
            report.note(text)
    except Exception as error:
        report.claim(False, 'liars: %s' % error)
        report.tail(get)
    finally:
        for peer in [honest, get, *liars]:
            peer.stop()


def unusable(world, report):
    """What the hash names, and is no torrent."""
    import hashlib
    info = encode({b'name': b'x'})
    one = MetadataLiar(world)
    one.serve(hashlib.sha1(info).digest(), info)
    get = Spate(world)

    class Link:
        path = 'magnet:?xt=urn:btih:%s&x.pe=%s' % (hashlib.sha1(info).hexdigest(), one.address)
    get.leech(Link, world.folder('out'))
    wait_for('spate gives up', lambda: get.process.poll() is not None, 30)
    report.claim(get.process.returncode == 3, 'metadata that is no torrent ends it with 3')
    get.stop()
    one.stop()


def body(world, report, args):
    names = args.names or (['transmission', 'libtorrent', 'spate'] if args.quick else NAMES)
    for name in names:
        if name not in ALL:
            report.note(name + ' is not there')
            continue
        we_get(world, report, ALL[name])
        they_get(world, report, ALL[name])
    again(world, report)
    liar(world, report)
    unusable(world, report)


if __name__ == '__main__':
    sys.exit(reports.main(__doc__, 'magnet', body,
                          (['names'], {'nargs': '*'}),
                          (['--quick'], {'action': 'store_true'})))
