#!/bin/bash
# What the gateway costs: an authenticated, routed request with a credential it
# knows, against the same location without gitpod_*, alternating in one run on
# one worker. Figures: CPU per request of the worker (/proc/<pid>/stat) and
# requests per second (wrk). Beside it, in the same rounds: auth_request, the
# same with its answers cached, HAProxy, Caddy and Lua. ROUNDS (default 7) of
# DURATION (default 3) seconds each.
set -euo pipefail
TOP=${TOP:-$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)}
export TOP
exec perl -I "$TOP/t/lib" "$TOP/bench/hop/hop.pl" "$@"
