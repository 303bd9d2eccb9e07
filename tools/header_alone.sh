#!/bin/sh
# A public header compiles on its own, as C and without help from others.
# usage: header_alone.sh CC... HEADER
set -eu
for header; do :; done
root=$(cd "$(dirname "$0")/.." && pwd)
while [ $# -gt 1 ]; do cc="${cc:-} $1"; shift; done
echo "#include \"$header\"" | $cc -std=gnu17 -Wall -Wextra -Werror -I"$root/include" -fsyntax-only -x c -
