#!/bin/sh
# What the build makes of the option table is accepted by the programs it is
# for; those that are not installed are left out.
# usage: docs_test.sh SPATE-DOCS
set -eu
docs=$1
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
count=0
check() { # NAME COMMAND...
    name=$1
    shift
    count=$((count + 1))
    if ! command -v "$1" >/dev/null; then
        echo "ok $count - $name # SKIP no $1"
    elif "$@" >"$tmp/log" 2>&1; then
        echo "ok $count - $name"
    else
        echo "not ok $count - $name"
        sed 's/^/# /' "$tmp/log"
    fi
}

for shell in bash zsh fish; do "$docs" $shell >"$tmp/completion.$shell"; done
check "bash reads its completion" bash -n "$tmp/completion.bash"
check "zsh reads its completion" zsh -n "$tmp/completion.zsh"
check "fish reads its completion" fish -n "$tmp/completion.fish"

cat >"$tmp/ask" <<'ASK'
set -eu
compopt() { :; }
. "$1"
ask() { # WANTED WORDS...
    wanted=$1
    shift
    COMP_WORDS=("$@")
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    _spate
    [ "${COMPREPLY[*]}" = "$wanted" ] || { echo "$*: '${COMPREPLY[*]}', not '$wanted'"; exit 1; }
}
cd "$2"
mkdir -p folder
touch a.torrent b.txt
ask "seed show" spate s
ask "--seed --seed-ratio --seed-time" spate get --seed
ask "a.torrent folder" spate get ""
ask "folder" spate get --dir ""
ask "a.torrent" spate show a
ask "hash" spate bench h
ask "seed" spate help see
ask "" spate get --down ""
ASK
mkdir "$tmp/files"
check "bash completes" bash "$tmp/ask" "$tmp/completion.bash" "$tmp/files"

for page in "" get seed create show verify magnet bench demo; do
    # shellcheck disable=SC2086
    "$docs" man $page >"$tmp/page.scd"
    check "scdoc takes spate${page:+-$page}(1)" sh -c "scdoc <'$tmp/page.scd' >'$tmp/page.1' &&
        { ! command -v mandoc >/dev/null || mandoc -T lint -W error '$tmp/page.1'; }"
done
echo "1..$count"
