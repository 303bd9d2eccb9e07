#!/bin/sh
# What "meson install" puts down is enough to build against: every example is
# compiled, linked and run with nothing but the installed tree and pkg-config.
# usage: install_test.sh BUILD SOURCE [CC...]
set -eu
build=$1 source=$2
shift 2
[ $# -gt 0 ] || set -- cc
tmp=$(mktemp -d)
trap 'kill "${seed:-}" 2>/dev/null || true; rm -rf "$tmp"' EXIT
count=0 bad=0
check() { # NAME COMMAND...
    name=$1
    shift
    count=$((count + 1))
    if "$@" >"$tmp/log" 2>&1; then
        echo "ok $count - $name"
    else
        echo "not ok $count - $name"
        sed 's/^/# /' "$tmp/log"
        bad=1
    fi
}

check "installs" env DESTDIR="$tmp/root" meson install -C "$build" --no-rebuild
pc=$(find "$tmp/root" -name spate.pc)
check "spate.pc is there" test -n "$pc"
prefix=$(sed -n 's/^prefix=//p' "$pc")
PKG_CONFIG_PATH=$(dirname "$pc")
export PKG_CONFIG_PATH
flags=$(pkg-config "--define-variable=prefix=$tmp/root$prefix" --cflags --libs spate)
check "the program runs" "$tmp/root$prefix/bin/spate" --version
check "the manual is there" test -f "$tmp/root$prefix/share/man/man1/spate.1"
for example in "$source"/examples/*.c; do
    name=$(basename "$example" .c)
    # shellcheck disable=SC2086
    check "builds $name" "$@" -std=gnu17 -Wall -Wextra -o "$tmp/$name" "$example" $flags
done
check "every header alone" sh -c "for h in $tmp/root$prefix/include/spate/*.h; do
    echo \"#include \\\"\$h\\\"\" | cc -std=gnu17 -Werror -I$tmp/root$prefix/include -fsyntax-only -xc - ||
    exit 1; done"

# The example downloads what the installed program seeds.
spate=$tmp/root$prefix/bin/spate
mkdir "$tmp/data" "$tmp/got"
head -c 3000000 /dev/urandom >"$tmp/data/file"
check "makes a torrent" "$spate" create "$tmp/data/file" --v1 -o "$tmp/file.torrent"
check "show_torrent shows it" "$tmp/show_torrent" "$tmp/file.torrent"
"$spate" seed "$tmp/file.torrent" --dir "$tmp/data" --listen 127.0.0.1:0 --json >"$tmp/seed.log" 2>&1 &
seed=$!
port=
for _ in $(seq 100); do
    port=$(grep -oE '127\.0\.0\.1:[1-9][0-9]*|port"?:? ?[1-9][0-9]*' "$tmp/seed.log" | grep -oE '[0-9]+$' | head -1)
    [ -z "$port" ] || break
    sleep 0.1
done
check "the seed listens" test -n "$port"
check "download downloads it" timeout 60 "$tmp/download" "$tmp/file.torrent" "$tmp/got" "127.0.0.1:$port"
check "the same bytes" cmp "$tmp/data/file" "$tmp/got/file"
echo "1..$count"
exit $bad
