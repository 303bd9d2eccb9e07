"""The data sets: made from a seed, the same on every machine."""
import os
import random

from bcode import make_info

KIB, MIB = 1 << 10, 1 << 20

ODD_SIZES = (0, 1, 2, 13, 255, 16383, 16384, 16385, 32767, 32768, 32769, 65537, 100003)
# Without leading spaces and double quotes: Transmission strips the one and replaces the other.
ODD_NAMES = ('with space.txt', 'ünïcödé-ß.dat', '日本語のファイル.bin',
             'русский текст.txt', 'emoji 🎈 name', 'quote\'s & more.x', 'percent%20sign', 'plus+and=eq',
             '-leading-dash', '.hidden', '#hash [brackets] {braces}', 'semi;colon,comma', 'no_extension',
             'two..dots', 'UPPER', 'l' * 200, 'é' * 100)


def write_random(path, size, rng):
    with open(path, 'wb') as file:
        while size:
            part = min(size, MIB)
            file.write(rng.randbytes(part))
            size -= part


def make_one(folder, name, size, seed):
    path = os.path.join(folder, name)
    write_random(path, size, random.Random(seed))
    return path


def make_many(folder, name, seed, count=300):
    """Nested folders, odd names, odd sizes, a tenth of them empty; the last file is not."""
    rng = random.Random(seed)
    top = os.path.join(folder, name)
    folders = ['', 'sub', 'sub/deeper', 'sub/deeper/deepest', 'Ordner mit Leerzeichen', 'папка/子']
    for index in range(count):
        if index < len(ODD_NAMES):
            leaf = ODD_NAMES[index]
        else:
            leaf = 'file %03d %s.bin' % (index, ''.join(rng.choices('abcäöü xyz', k=rng.randrange(1, 12))).strip())
        size = ODD_SIZES[index % len(ODD_SIZES)] if index % 2 else rng.randrange(1, 60000)
        if index % 10 == 3:
            size = 0
        where = os.path.join(top, rng.choice(folders))
        os.makedirs(where, exist_ok=True)
        write_random(os.path.join(where, leaf), size, rng)
    write_random(os.path.join(top, 'zz last'), 777, rng)
    return top


class DataSet:
    """A file or folder and its info dictionary, from which every case takes its own torrent."""

    def __init__(self, name, path, piece_length):
        self.name, self.path, self.piece_length = name, path, piece_length
        self.folder = os.path.dirname(path)
        self.info = make_info(path, piece_length)

    def info_of(self, case):
        """Another `source`, another info-hash: each case is a swarm of its own in the one tracker."""
        return {**self.info, 'source': case}


def make_all(folder):
    os.makedirs(folder)
    return {d.name: d for d in (
        DataSet('one', make_one(folder, 'one file.bin', 6 * MIB + 4321, 1), 16 * KIB),
        DataSet('many', make_many(folder, 'many files', 2), 32 * KIB),
        DataSet('large', make_one(folder, 'large.bin', 40 * MIB + 1, 3), 16 * MIB),
    )}


def differences(wanted, got, but_empty=False):
    """What differs between two trees (or files), as lines; but_empty forgives empty files not made."""
    def listing(top):
        if os.path.isfile(top):
            return {'': os.path.getsize(top)}
        return {os.path.relpath(os.path.join(f, n), top): os.path.getsize(os.path.join(f, n))
                for f, _, names in os.walk(top) for n in names}
    want, have = listing(wanted), listing(got)
    if but_empty:
        want = {k: v for k, v in want.items() if v or k in have}
    lines = ['missing: %r' % k for k in want.keys() - have.keys()]
    lines += ['not in the torrent: %r' % k for k in have.keys() - want.keys()]
    for name in sorted(want.keys() & have.keys()):
        if want[name] != have[name]:
            lines.append('%r has %d bytes, not %d' % (name, have[name], want[name]))
            continue
        with open(os.path.join(wanted, name) if name else wanted, 'rb') as a, \
             open(os.path.join(got, name) if name else got, 'rb') as b:
            while chunk := a.read(MIB):
                if chunk != b.read(MIB):
                    lines.append('%r has other bytes' % name)
                    break
    return lines
