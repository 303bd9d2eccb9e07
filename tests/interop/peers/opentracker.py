"""opentracker, HTTP and UDP on one port.  Debian's build serves only the info-hashes of a whitelist."""
import os

from bcode import decode
from peers.base import http
from world import GATE, wait_for


class Tracker:
    port = 6969

    def __init__(self, world, hashes, ip=GATE):
        self.world, self.ip = world, ip
        self.home = world.folder('opentracker')
        os.chmod(self.home, 0o777)
        with open(os.path.join(self.home, 'whitelist'), 'w') as file:
            file.writelines(h.hex() + '\n' for h in hashes)
        self.log = os.path.join(self.home, 'log')
        self.process = world.popen(
            ['opentracker', '-i', ip, '-p', str(self.port), '-P', str(self.port), '-u', 'nobody',
             '-A', ip, '-d', self.home, '-w', '/whitelist'], self.log)  # read inside its chroot
        wait_for('opentracker', lambda: http('http://%s:%d/stats' % (ip, self.port)), 10)

    @classmethod
    def url(cls, kind, ip=GATE):
        return {'http': 'http://%s:%d/announce', 'udp': 'udp://%s:%d/announce'}[kind] % (ip, cls.port)

    def scrape(self, info_hash):
        """(seeds, downloaders) it knows of."""
        query = ''.join('%%%02x' % b for b in info_hash)
        body = http('http://%s:%d/scrape?info_hash=%s' % (self.ip, self.port, query))
        entry = decode(body)[b'files'].get(info_hash, {}) if body else {}
        return entry.get(b'complete', 0), entry.get(b'incomplete', 0)

    def wait_seed(self, info_hash, peer, timeout=30):
        wait_for('%s tells the tracker that it seeds' % peer.name,
                 lambda: self.scrape(info_hash)[0] > 0, timeout, peer.alive)

    def stop(self):
        self.world.reap(self.process)
