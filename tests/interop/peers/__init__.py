"""The clients by name."""
from peers.aria2 import Aria2
from peers.ctorrent import Ctorrent
from peers.libtorrent_peer import Libtorrent
from peers.qbittorrent import Qbittorrent
from peers.rtorrent import Rtorrent
from peers.spate import Spate
from peers.transmission import Transmission
from peers.webtorrent import Webtorrent

FOREIGN = {c.name: c for c in (Transmission, Aria2, Rtorrent, Qbittorrent, Ctorrent)}
ALL = {**FOREIGN, 'libtorrent': Libtorrent, 'spate': Spate}
if Webtorrent.is_installed():
    ALL['webtorrent'] = Webtorrent
