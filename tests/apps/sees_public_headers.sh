#!/bin/sh
# The program is the library's first user: apps/ includes its own headers,
# include/spate and the system's, nothing of core/ or io/.
# usage: sees_public_headers.sh APPS_DIR
set -eu
bad=$(find "$1" -name '*.[ch]' -exec grep -Hn '#include "' {} + |
    grep -Ev '#include "(apps|spate)/[a-z0-9_/]+\.h"' || true)
if [ -n "$bad" ]; then
    echo "not ok 1 - apps include private headers"
    echo "$bad" | sed 's/^/# /'
else
    echo "ok 1 - apps include public headers alone"
fi
echo 1..1
