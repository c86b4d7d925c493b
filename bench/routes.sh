#!/bin/bash
# Routing over ROUTES (default 100,000) routes: what a record takes and a lookup
# costs (the real table and route_get() in a program of their own, CPU time), how
# long all of them take to be read, how soon a change is seen by every worker,
# and that CHANGES (default 1,000) of them under load lose no request, WebSocket
# or stream.
set -euo pipefail
TOP=${TOP:-$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)}
export TOP
exec perl -I "$TOP/t/lib" "$TOP/bench/routes/routes.pl" "$@"
