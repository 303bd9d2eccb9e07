#!/bin/sh
# Everything that reads the sources and says what it does not like, as TAP.
# usage: lint.sh [FILE...]   FILE: those that clang-tidy reads; default: all of core
set -eu
cd "$(dirname "$0")/.."
# shellcheck disable=SC2046
[ $# -gt 0 ] || set -- $(git ls-files 'core/*.c')
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
count=0 bad=0
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
        bad=1
    fi
}

check "tidy" tools/tidy.py .
check "bep coverage" tools/bep_coverage.py --check
check "who may use whom" tools/may_use.sh .
# shellcheck disable=SC2046
check "shell scripts" shellcheck dev .ci/run $(git ls-files '*.sh')

for page in build/apps/*.1; do
    [ ! -f "$page" ] || check "$(basename "$page")" mandoc -T lint -W error "$page"
done

# The analyser wants to know how each file is compiled, by clang.
build="build-clang"
[ -f $build/compile_commands.json ] || build=build
if [ -f $build/compile_commands.json ]; then
    # shellcheck disable=SC2317
    check_file() {
        clang-tidy-14 --quiet -p "$build" --warnings-as-errors='*' "$1" 2>"$tmp/err"
    }
    for file; do check "clang-tidy $file" check_file "$file"; done
fi
echo "1..$count"
exit $bad
