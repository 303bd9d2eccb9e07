"""python3-libtorrent 2.0.8: runs itself as a process that holds one session.

As a program: libtorrent_peer.py TORRENT FOLDER IP:PORT [key=value ...] writes one JSON object a line.
"""
import json
import os
import sys
import time

SETTINGS = {
    'enable_dht': False, 'enable_lsd': False, 'enable_upnp': False, 'enable_natpmp': False,
    'enable_outgoing_utp': False, 'enable_incoming_utp': False, 'allow_multiple_connections_per_ip': True,
    'in_enc_policy': 2, 'out_enc_policy': 2, 'connection_speed': 1000, 'connections_limit': 4000,
    'unchoke_slots_limit': -1, 'choking_algorithm': 0, 'max_out_request_queue': 2000,
    'max_allowed_in_request_queue': 4000, 'send_buffer_watermark': 3 << 20,
    'send_buffer_watermark_factor': 150, 'mixed_mode_algorithm': 0, 'alert_mask': 0,
    'listen_queue_size': 3000, 'close_redundant_connections': False,
}


def main():
    import libtorrent as lt
    torrent, folder, listen = sys.argv[1:4]
    options = dict(a.split('=', 1) for a in sys.argv[4:])
    settings = {**SETTINGS, 'listen_interfaces': listen, 'enable_lsd': options.get('lsd') == '1'}
    known = {k for k in SETTINGS if not k.startswith('enable_')} | {'allowed_enc_level', 'prefer_rc4'}
    for key in known & options.keys():
        settings[key] = bool(int(options[key])) if key == 'prefer_rc4' else int(options[key])
    settings.update({k: v == '1' for k, v in options.items() if k.startswith('enable_')})
    session = lt.session(settings)
    setup_cpu = time.process_time()  # the interpreter and its imports
    if torrent.startswith('magnet:'):
        params = lt.parse_magnet_uri(torrent)
    else:
        params = lt.add_torrent_params()
        params.ti = lt.torrent_info(torrent)
    params.save_path = folder
    params.max_connections = 4000
    params.max_uploads = -1
    params.flags &= ~lt.torrent_flags.auto_managed & ~lt.torrent_flags.paused
    if options.get('pex') != '1':
        params.flags |= lt.torrent_flags.disable_pex
    if options.get('trust') == '1':
        params.flags |= lt.torrent_flags.seed_mode
    handle = session.add_torrent(params)
    # The session's limits do not hold for peers on private addresses; the torrent's do.
    handle.set_upload_limit(int(options.get('up', 0)))
    handle.set_download_limit(int(options.get('down', 0)))
    for peer in filter(None, options.get('peers', '').split(',')):
        host, port = peer.rsplit(':', 1)
        handle.connect_peer((host, int(port)))
    while True:
        status = handle.status()
        if options.get('once') == '1' and not status.is_seeding:
            time.sleep(0.003)  # measured: says nothing before the end
            continue
        print(json.dumps({'seeding': status.is_seeding, 'done': status.total_wanted_done,
                          'received': status.total_payload_download, 'sent': status.total_payload_upload,
                          'redundant': status.total_redundant_bytes, 'failed': status.total_failed_bytes,
                          'peers': status.num_peers,
                          'rc4': sum(bool(p.flags & p.rc4_encrypted) for p in handle.get_peer_info()), 'at': time.monotonic(),
                          'setup_cpu': setup_cpu, 'state': str(status.state)}), flush=True)
        if options.get('once') == '1':
            break
        time.sleep(0.1)


if __name__ == '__main__':
    main()
else:
    from peers.base import Peer

    class Libtorrent(Peer):
        name = 'libtorrent'

        def launch(self, torrent, folder, *options):
            self.start(['/usr/bin/python3', os.path.abspath(__file__), torrent.path, folder, self.address,
                        'up=%d' % self.up, 'down=%d' % self.down, *options])

        def seed(self, torrent, folder):
            self.launch(torrent, folder)
            self.wait_complete(30)

        leech = launch

        def log_tail(self, lines=2):
            return super().log_tail(min(lines, 2))

        def is_complete(self):
            lines = self.log_tail(1)
            try:
                return bool(lines) and json.loads(lines[-1])['seeding']
            except ValueError:
                return False
