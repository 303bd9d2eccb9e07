"""Bencode and torrent files, written apart from the program so that they can contradict it."""
import hashlib
import os
import urllib.parse


def decode_at(data, at=0):
    """The value that starts at `at`, and where it ends."""
    kind = data[at:at + 1]
    if kind == b'i':
        end = data.index(b'e', at)
        return int(data[at + 1:end]), end + 1
    if kind == b'l':
        values, at = [], at + 1
        while data[at:at + 1] != b'e':
            value, at = decode_at(data, at)
            values.append(value)
        return values, at + 1
    if kind == b'd':
        values, at = {}, at + 1
        while data[at:at + 1] != b'e':
            key, at = decode_at(data, at)
            values[key], at = decode_at(data, at)
        return values, at + 1
    colon = data.index(b':', at)
    end = colon + 1 + int(data[at:colon])
    if end > len(data):
        raise ValueError('string past the end')
    return data[colon + 1:end], end


def decode(data):
    return decode_at(data)[0]


def encode(value):
    if isinstance(value, bool):
        raise TypeError('bencode has no booleans')
    if isinstance(value, int):
        return b'i%de' % value
    if isinstance(value, str):
        value = value.encode()
    if isinstance(value, (bytes, bytearray)):
        return b'%d:%s' % (len(value), bytes(value))
    if isinstance(value, (list, tuple)):
        return b'l' + b''.join(map(encode, value)) + b'e'
    pairs = sorted((k.encode() if isinstance(k, str) else k, v) for k, v in value.items())
    return b'd' + b''.join(encode(k) + encode(v) for k, v in pairs) + b'e'


def info_bytes(torrent):
    """The exact bytes of the value of the top-level key "info"."""
    at = 1
    while torrent[at:at + 1] != b'e':
        key, at = decode_at(torrent, at)
        start = at
        _, at = decode_at(torrent, at)
        if key == b'info':
            return torrent[start:at]
    raise ValueError('no info')


def hash_pieces(paths, piece_length):
    """SHA-1 of each piece of the files laid end to end."""
    pieces, hasher, room = [], hashlib.sha1(), piece_length
    for path in paths:
        with open(path, 'rb') as file:
            while chunk := file.read(min(room, 1 << 20)):
                hasher.update(chunk)
                room -= len(chunk)
                if room == 0:
                    pieces.append(hasher.digest())
                    hasher, room = hashlib.sha1(), piece_length
    if room != piece_length:
        pieces.append(hasher.digest())
    return b''.join(pieces)


def make_info(path, piece_length, **extra):
    """The info dictionary (v1) of a file or a folder; hashes its data."""
    path = os.fsencode(path)
    info = {'name': os.path.basename(path), 'piece length': piece_length, **extra}
    if os.path.isfile(path):
        info['length'] = os.path.getsize(path)
        info['pieces'] = hash_pieces([path], piece_length)
        return info
    found = sorted(os.path.relpath(os.path.join(folder, name), path)
                   for folder, _, names in os.walk(path) for name in names)
    info['files'] = [{'length': os.path.getsize(os.path.join(path, name)),
                      'path': name.split(b'/')} for name in found]
    info['pieces'] = hash_pieces([os.path.join(path, name) for name in found], piece_length)
    return info


class Torrent:
    """A torrent file on the disk and what a test needs to know of it."""

    def __init__(self, path):
        self.path = path
        with open(path, 'rb') as file:
            self.raw = file.read()
        self.meta = decode(self.raw)
        self.info = self.meta[b'info']
        self.hash = hashlib.sha1(info_bytes(self.raw)).digest()
        self.name = os.fsdecode(self.info[b'name'])
        self.piece_length = self.info[b'piece length']
        self.pieces = self.info[b'pieces']
        self.piece_count = len(self.pieces) // 20
        if b'files' in self.info:
            self.files = [(os.path.join(self.name, *map(os.fsdecode, f[b'path'])), f[b'length'])
                          for f in self.info[b'files']]
        else:
            self.files = [(self.name, self.info[b'length'])]
        self.length = sum(length for _, length in self.files)

    @classmethod
    def write(cls, path, info, announce=None):
        meta = {'info': info}
        if announce:
            meta['announce'] = announce
        with open(path, 'wb') as file:
            file.write(encode(meta))
        return cls(path)

    def magnet(self, *peers):
        """What a client gets in place of the file: the info-hash and addresses alone."""
        return Magnet(self, peers)

    def piece_len(self, index):
        return min(self.piece_length, self.length - index * self.piece_length)

    def good_pieces(self, folder):
        """The set of pieces that are on the disk and right; holes and absent files count as wrong."""
        good = set()
        for index in range(self.piece_count):
            data = self.read(folder, index * self.piece_length, self.piece_len(index))
            if hashlib.sha1(data).digest() == self.pieces[20 * index:20 * index + 20]:
                good.add(index)
        return good

    def read(self, folder, offset, count):
        """Bytes of the files laid end to end; what is not there is left out."""
        parts, start = [], 0
        for name, length in self.files:
            if start + length > offset and start < offset + count:
                begin, end = max(offset, start), min(offset + count, start + length)
                try:
                    with open(os.path.join(folder, name), 'rb') as file:
                        file.seek(begin - start)
                        parts.append(file.read(end - begin))
                except FileNotFoundError:
                    pass
            start += length
        return b''.join(parts)

    def matches(self, folder):
        """Whether the hashes it carries are those of the data, by the oracle's own hashing."""
        paths = [os.path.join(folder, name) for name, _ in self.files]
        return (all(os.path.getsize(p) == n for p, (_, n) in zip(paths, self.files)) and
                hash_pieces(paths, self.piece_length) == self.pieces)


class Magnet:
    """Stands where a Torrent does; its path is the link."""

    def __init__(self, torrent, peers=()):
        self.hash, self.name = torrent.hash, torrent.name
        self.path = 'magnet:?xt=urn:btih:' + self.hash.hex() + ''.join('&x.pe=' + p for p in peers)
        if b'announce' in torrent.meta:
            self.path += '&tr=' + urllib.parse.quote(os.fsdecode(torrent.meta[b'announce']), safe='')


def is_magnet(path):
    return path.startswith('magnet:')
