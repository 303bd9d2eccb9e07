"""`spate get` from nginx beside `curl -o` of the same file, in turn: seconds of each and the ratio of their medians.

usage: webseed.py [--size MIB] [--rounds N] [--dir DIR]
"""
import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), '..', '..'))
sys.path.insert(0, os.path.join(ROOT, 'tests', 'interop'))
import data
from bcode import Torrent, make_info
from webseed import NGINX

PROGRAM = os.environ.get('SPATE') or os.path.join(ROOT, 'build', 'spate')
PORT = 18099


def took(argv):
    began = time.monotonic()
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - began


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument('--size', type=int, default=1024)
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--dir')
    args = parser.parse_args()
    top = tempfile.mkdtemp(prefix='spate-webseed-', dir=args.dir)
    os.chmod(top, 0o755)
    root, out = os.path.join(top, 'root'), os.path.join(top, 'out')
    os.makedirs(root), os.makedirs(out)
    path = data.make_one(root, 'file.bin', args.size * data.MIB, 5)
    torrent = Torrent.write(os.path.join(top, 'file.torrent'), make_info(path, data.MIB))
    url = 'http://127.0.0.1:%d/file.bin' % PORT
    with open(os.path.join(top, 'conf'), 'w') as file:
        conf = NGINX.format(dir=top, root=root, ip='127.0.0.1', port=PORT)
        file.write(conf if os.geteuid() == 0 else conf.replace('user root;', ''))
    nginx = subprocess.Popen(['nginx', '-p', top, '-c', os.path.join(top, 'conf')])
    try:
        time.sleep(1)
        ours, curls = [], []
        for _ in range(args.rounds):
            for times, argv in ((curls, ['curl', '-s', '-o', os.path.join(out, 'curl'), url]),
                                (ours, [PROGRAM, 'get', torrent.path, '--dir', out, '--no-state', '--quiet', '--listen',
                                        '127.0.0.1:0', '--web-seed', url])):
                os.sync()
                times.append(took(argv))
                if times is ours and data.differences(path, os.path.join(out, 'file.bin')):
                    raise SystemExit('not identical')
                for name in os.listdir(out):
                    os.unlink(os.path.join(out, name))
        rate = lambda times: args.size / statistics.median(times)
        print('curl  %7.1f MiB/s  %s' % (rate(curls), ' '.join('%.2f' % t for t in curls)))
        print('spate %7.1f MiB/s  %s' % (rate(ours), ' '.join('%.2f' % t for t in ours)))
        print('ratio %.2f (at least 0.9 is wanted)' % (rate(ours) / rate(curls)))
    finally:
        nginx.terminate()
        nginx.wait()
        shutil.rmtree(top)


if __name__ == '__main__':
    sys.exit(main())
