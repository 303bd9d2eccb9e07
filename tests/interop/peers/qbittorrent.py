"""qbittorrent-nox 4.5.2 (libtorrent-rasterbar 2.0), driven over its web API."""
import json
import os

from bcode import is_magnet
from peers.base import Peer, http
from world import wait_for

CONFIG = """[LegalNotice]
Accepted=true

[BitTorrent]
Session\\Port={port}
Session\\Interface=eth0
Session\\InterfaceName=eth0
Session\\InterfaceAddress={ip}
Session\\DHTEnabled=false
Session\\PeXEnabled=false
Session\\LSDEnabled=false
Session\\BTProtocol=TCP
Session\\Encryption=0
Session\\QueueingSystemEnabled=false
Session\\GlobalUPSpeedLimit={up}
Session\\GlobalDLSpeedLimit={down}
Session\\IgnoreLimitsOnLAN=false
Session\\MultiConnectionsPerIp=true
Session\\Preallocation=false

[Network]
PortForwardingEnabled=false

[Preferences]
General\\Locale=en
WebUI\\Enabled=true
WebUI\\Address=*
WebUI\\Port=8080
WebUI\\UseUPnP=false
WebUI\\LocalHostAuth=false
WebUI\\AuthSubnetWhitelistEnabled=true
WebUI\\AuthSubnetWhitelist=10.77.0.0/16
WebUI\\CSRFProtection=false
WebUI\\HostHeaderValidation=false
"""


class Qbittorrent(Peer):
    name = 'qbittorrent'
    web_port = 8080

    def launch(self):
        folder = os.path.join(self.home, 'qBittorrent', 'config')
        os.makedirs(folder)
        with open(os.path.join(folder, 'qBittorrent.conf'), 'w') as file:
            file.write(CONFIG.format(ip=self.ip, port=self.port, up=self.up // 1024, down=self.down // 1024))
        self.start(['qbittorrent-nox', '--profile=' + self.home])
        wait_for('qbittorrent answers', lambda: self.api('app/version'), 30, self.alive)

    def api(self, path, data=None, headers={}):
        return http('http://%s:%d/api/v2/%s' % (self.ip, self.web_port, path), data, headers)

    def add(self, torrent, folder):
        self.launch()
        mark = b'----spate-test-boundary'
        parts = {'savepath': folder, 'autoTMM': 'false', 'contentLayout': 'Original', 'paused': 'false'}
        body = b''.join(b'--%s\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
                        % (mark, k.encode(), v.encode()) for k, v in parts.items())
        if is_magnet(torrent.path):
            body += (b'--%s\r\nContent-Disposition: form-data; name="urls"\r\n\r\n%s\r\n--%s--\r\n'
                     % (mark, torrent.path.encode(), mark))
        else:
            with open(torrent.path, 'rb') as file:
                given = file.read()
            body += (b'--%s\r\nContent-Disposition: form-data; name="torrents"; filename="t.torrent"\r\n'
                     b'Content-Type: application/x-bittorrent\r\n\r\n%s\r\n--%s--\r\n' % (mark, given, mark))
        reply = self.api('torrents/add', body, {'Content-Type': 'multipart/form-data; boundary=' + mark.decode()})
        assert reply == b'Ok.', reply

    def seed(self, torrent, folder):
        self.add(torrent, folder)
        self.wait_complete(30)

    leech = add

    def is_complete(self):
        reply = self.api('torrents/info')
        return bool(reply) and any(t['progress'] == 1 and t['state'] in ('uploading', 'stalledUP', 'forcedUP')
                                   for t in json.loads(reply))
