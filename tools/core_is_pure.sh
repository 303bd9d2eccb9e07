#!/bin/sh
# The core may ask the outside world for nothing but moving bytes, and keeps
# no state of its own between calls.  A new name here is a decision, not a
# detail: see docs/ARCHITECTURE.md.  utf8proc is a table and pure functions.
set -eu
calls=$(nm -u "$1" | awk '$1 == "U" { print $2 }' | sort -u | grep -Evx \
    's(p|im)_.*|mem(cpy|move|set|cmp|chr)|strlen|utf8proc_.*|__assert_fail|__stack_chk_fail|_GLOBAL_OFFSET_TABLE_|__(a|ub|t)san_.*|__mem(cpy|move|set)_chk|__sanitizer_.*|__u?divti3|__popcountdi2|__tls_get_addr|__start___sancov.*|__stop___sancov.*' || true)
state=$(nm "$1" | awk '$2 ~ /^[bBdDC]$/ && $3 !~ /san|odr_asan|^__/ { print $3 }')
if [ -z "$calls$state" ]; then
    echo 'ok 1 - core is pure'
else
    # shellcheck disable=SC2086
    echo "not ok 1 - core calls:" $calls "keeps:" $state
fi
echo 1..1
