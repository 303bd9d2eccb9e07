"""rtorrent 0.9.8 as a daemon, asked over SCGI."""
import os
import re
import socket

from bcode import is_magnet
from peers.base import Peer
from world import wait_for

CONFIG = """
system.daemon.set = true
network.bind_address.set = {ip}
network.port_range.set = {port}-{port}
network.port_random.set = no
session.path.set = {home}/session
directory.default.set = {folder}
dht.mode.set = disable
protocol.pex.set = no
trackers.use_udp.set = yes
protocol.encryption.set = allow_incoming
pieces.hash.on_completion.set = no
pieces.preload.type.set = 0
throttle.global_up.max_rate.set_kb = {up}
throttle.global_down.max_rate.set_kb = {down}
network.scgi.open_local = {home}/scgi
log.open_file = "log", {home}/rtorrent.log
log.add_output = "info", "log"
log.add_output = "tracker_debug", "log"
schedule2 = load, 0, 0, "load.start_verbose={torrent}"
"""


class Rtorrent(Peer):
    name = 'rtorrent'

    def launch(self, torrent, folder):
        os.mkdir(self.home + '/session')
        # Its command language splits at commas and spaces: it gets paths without any.
        plain = self.home + '/given.torrent'
        if is_magnet(torrent.path):
            plain = torrent.path
        else:
            os.symlink(torrent.path, plain)
        config = self.home + '/rtorrent.rc'
        with open(config, 'w') as file:
            file.write(CONFIG.format(ip=self.ip, port=self.port, home=self.home, folder=folder, torrent=plain,
                                     up=self.up // 1024, down=self.down // 1024))
        self.start(['rtorrent', '-n', '-o', 'import=' + config], env={'TERM': 'dumb'})
        wait_for('rtorrent answers', lambda: self.call('system.pid') is not None, 20, self.alive)

    def call(self, method, *params):
        """The first number of the reply of an XML-RPC call over SCGI; None while nobody answers."""
        body = '<?xml version="1.0"?><methodCall><methodName>%s</methodName><params>%s</params></methodCall>' % (
            method, ''.join('<param><value><string>%s</string></value></param>' % p for p in params))
        head = 'CONTENT_LENGTH\0%d\0SCGI\x001\0' % len(body)
        try:
            with socket.socket(socket.AF_UNIX) as sock:
                sock.settimeout(5)
                sock.connect(self.home + '/scgi')
                sock.sendall(('%d:%s,%s' % (len(head), head, body)).encode())
                reply = b''.join(iter(lambda: sock.recv(65536), b''))
        except OSError:
            return None
        found = re.search(rb'<i[48]>(-?\d+)</i[48]>', reply)
        return int(found.group(1)) if found and b'faultCode' not in reply else None

    def seed(self, torrent, folder):
        self.hash = torrent.hash.hex().upper()
        self.launch(torrent, folder)
        self.wait_complete(30)

    def leech(self, torrent, folder):
        self.hash = torrent.hash.hex().upper()
        self.launch(torrent, folder)

    def is_complete(self):
        return self.call('d.complete', self.hash) == 1 and self.call('d.hashing', self.hash) == 0
