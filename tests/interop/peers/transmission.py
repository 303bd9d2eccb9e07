"""transmission-daemon 3.00, driven over its RPC."""
import base64
import json
import os
import urllib.error
import urllib.request

from bcode import is_magnet
from peers.base import Peer
from world import wait_for


class Transmission(Peer):
    name = 'transmission'
    leaves_out_empty_files = True
    rpc_port = 9091
    encryption = 0  # 0 tolerated, 1 preferred, 2 required
    utp = False

    def launch(self):
        limit = {}
        if self.up:
            limit.update({'speed-limit-up-enabled': True, 'speed-limit-up': self.up // 1000})
        if self.down:
            limit.update({'speed-limit-down-enabled': True, 'speed-limit-down': self.down // 1000})
        with open(os.path.join(self.home, 'settings.json'), 'w') as file:
            json.dump({
                'bind-address-ipv4': self.ip, 'peer-port': self.port, 'rpc-port': self.rpc_port,
                'rpc-bind-address': '0.0.0.0', 'rpc-authentication-required': False,
                'rpc-whitelist-enabled': False, 'rpc-host-whitelist-enabled': False,
                'dht-enabled': False, 'pex-enabled': False, 'lpd-enabled': False, 'utp-enabled': self.utp,
                'port-forwarding-enabled': False, 'encryption': self.encryption, 'incomplete-dir-enabled': False,
                'rename-partial-files': False, 'preallocation': 0, 'cache-size-mb': 4,
                'umask': 0o022, **limit}, file)
        self.session = ''
        self.start(['transmission-daemon', '--foreground', '--config-dir', self.home])
        wait_for('transmission answers', lambda: self.rpc('session-get'), 20, self.alive)

    def rpc(self, method, **arguments):
        body = json.dumps({'method': method, 'arguments': arguments}).encode()
        for _ in range(2):
            request = urllib.request.Request('http://%s:%d/transmission/rpc' % (self.ip, self.rpc_port), body,
                                             {'X-Transmission-Session-Id': self.session})
            try:
                with urllib.request.urlopen(request, timeout=5) as reply:
                    return json.load(reply)
            except urllib.error.HTTPError as error:  # 409 carries the session id to use
                self.session = error.headers.get('X-Transmission-Session-Id', '')
            except OSError:
                return None
        return None

    def add(self, torrent, folder):
        self.launch()
        if is_magnet(torrent.path):
            what = {'filename': torrent.path}
        else:
            with open(torrent.path, 'rb') as file:
                what = {'metainfo': base64.b64encode(file.read()).decode()}
        reply = self.rpc('torrent-add', **what, **{'download-dir': folder})
        assert reply['result'] == 'success', reply

    def status(self):
        reply = self.rpc('torrent-get', fields=['percentDone', 'status', 'errorString', 'uploadedEver'])
        return reply['arguments']['torrents'][0] if reply else None

    def seed(self, torrent, folder):
        self.add(torrent, folder)
        # It checks data that was there before it only when told to.
        if self.status()['percentDone'] < 1:
            self.rpc('torrent-verify')
        self.wait_complete(30)

    def leech(self, torrent, folder):
        self.add(torrent, folder)

    def is_complete(self):
        status = self.status()
        # 6: seeding.  2: still checking, whatever the percentage says.
        return status and status['percentDone'] == 1 and status['status'] == 6
