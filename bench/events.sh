#!/bin/bash
# 10,000 subscribers of /api/events on one worker: how long an event takes from
# PUBLISH to a client, when it is for 40 of them and when it is for all; what a
# subscriber costs in memory, beside plain nginx that proxies the same stream
# unbuffered; that one who does not read delays nobody.
#   bench/events.sh     SUBSCRIBERS (10000), SECONDS of each part (10)
set -euo pipefail
TOP=${TOP:-$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)}
export TOP
cc -O2 -Wall -o "${TMPDIR:-/tmp}/gitpod-subscribe.$$" "$TOP/bench/events/subscribe.c"
trap 'rm -f "${TMPDIR:-/tmp}/gitpod-subscribe.$$"' EXIT
ulimit -n "$(ulimit -Hn)"
SUBSCRIBE="${TMPDIR:-/tmp}/gitpod-subscribe.$$" perl -I "$TOP/t/lib" "$TOP/bench/events/events.pl" "$@"
