#!/bin/sh
# Who may include whom: the table of docs/ARCHITECTURE.md, held by a test.
# usage: may_use.sh ROOT
set -eu
cd "$1"
bad=0 n=0
# rule FOLDER ALLOWED...: what files below FOLDER include with quotes begins
# with FOLDER itself, or with one of ALLOWED.
rule() {
    folder=$1
    shift
    [ -d "$folder" ] || return 0
    n=$((n + 1))
    allowed="^$folder/"
    for prefix; do allowed="$allowed|^$prefix"; done
    out=$(grep -rhoE --include='*.[ch]' '^ *# *include "[^"]+"' "$folder" |
        sed -E 's/.*"([^"]+)"/\1/' | grep '/' | sort -u | grep -Ev "$allowed" || true)
    if [ -n "$out" ]; then
        bad=1
        # shellcheck disable=SC2086
        echo "not ok $n - $folder includes" $out
    else
        echo "ok $n - $folder"
    fi
}
rule core/base spate/
rule core/bencode spate/ core/base/
rule core/metainfo spate/ core/base/ core/bencode/
rule core/lsd spate/ core/base/
rule core/magnet spate/ core/base/ core/metainfo/
rule core/dht spate/ core/base/
rule core/wire spate/ core/base/ core/bencode/
rule core/portmap spate/ core/base/
rule core/metadata spate/ core/base/ core/wire/
rule core/pieces spate/ core/base/
rule core/picker spate/ core/base/
rule core/choker spate/ core/base/
rule core/ipfilter spate/ core/base/
rule core/proxy spate/ core/base/
rule core/mse spate/ core/base/
rule core/tracker spate/ core/base/ core/bencode/
rule core/web spate/ core/base/
rule core/utp spate/ core/base/
rule core/torrent spate/ core/
rule core/session spate/ core/
rule sim spate/ core/
# io takes from the core its base, its session, and the small pure helpers it
# needs at the edge: peer ids and what a handshake begins with.
rule io spate/ core/base/ core/session/ core/wire/ core/metainfo/ core/portmap/ core/proxy/ core/lsd/ core/ipfilter/
rule apps spate/ sim/
rule examples spate/
echo "1..$n"
exit $bad
