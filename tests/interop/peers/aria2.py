"""aria2c 1.36, driven by its command line and asked over JSON-RPC."""
from peers.base import Peer, http_json


class Aria2(Peer):
    name = 'aria2'
    rpc_port = 6800

    def launch(self, torrent, folder, *options):
        self.start(['aria2c', '--no-conf', '--quiet', '--dir=' + folder,
                    '--listen-port=%d' % self.port, '--interface=' + self.ip, '--disable-ipv6=true',
                    # Its UDP tracker client exists only while its DHT does; there is nobody to bootstrap from.
                    '--enable-dht=true', '--dht-listen-port=%d' % self.port, '--dht-file-path=' + self.home + '/dht',
                    '--enable-dht6=false', '--enable-peer-exchange=false', '--bt-enable-lpd=false',
                    '--enable-rpc=true', '--rpc-listen-all=true', '--rpc-listen-port=%d' % self.rpc_port,
                    '--file-allocation=none', '--seed-ratio=0.0', '--bt-save-metadata=false',
                    '--bt-tracker-connect-timeout=5', '--bt-tracker-timeout=5', '--log-level=notice',
                    '--log=' + self.home + '/aria2.log',
                    '--max-overall-upload-limit=%d' % self.up, '--max-overall-download-limit=%d' % self.down,
                    *options, torrent.path])
        self.wait_port(self.rpc_port)

    def seed(self, torrent, folder):
        self.launch(torrent, folder, '--check-integrity=true', '--allow-overwrite=true')
        self.wait_complete(30)

    def leech(self, torrent, folder):
        self.launch(torrent, folder)

    def is_complete(self):
        reply = http_json('http://%s:%d/jsonrpc' % (self.ip, self.rpc_port),
                          {'jsonrpc': '2.0', 'id': 1, 'method': 'aria2.tellActive', 'params': []})
        return bool(reply) and any(d['completedLength'] == d['totalLength'] and 'verifiedLength' not in d and
                                   d.get('seeder') == 'true' for d in reply['result'])
