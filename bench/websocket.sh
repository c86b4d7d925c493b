#!/bin/bash
# 5,000 idle and 200 busy WebSockets of a workspace through the gateway, and
# beside them as many through plain nginx with the same proxy settings: memory
# of a connection (RssAnon and RssShmem of the one worker, slope), CPU of the
# worker per message (/proc/<pid>/stat), whether every byte comes back.
#   bench/websocket.sh     IDLE (5000), BUSY (200), ROUNDS (5) of SECONDS_OF_EACH (2)
set -euo pipefail
TOP=${TOP:-$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)}
export TOP
WEBSOCKET=${TMPDIR:-/tmp}/gitpod-websocket.$$
export WEBSOCKET
cc -O2 -Wall -Wextra -Werror -o "$WEBSOCKET" "$TOP/bench/websocket/websocket.c"
trap 'rm -f "$WEBSOCKET"' EXIT
ulimit -n "$(ulimit -Hn)"
perl -I "$TOP/t/lib" "$TOP/bench/websocket/websocket.pl" "$@"
