#!/bin/bash
# Redis stopped under load, for SECONDS (the first argument, default 60; ten minutes: ./build.sh bench outlive 600): what fails of requests
# with known identities and routes, of WebSockets and of new connections, what unknown workspaces are told, and how soon everything is
# well again when Redis is back, with nothing in it but what its writers put there again. RATE (default 1000) requests a second.
set -euo pipefail
TOP=${TOP:-$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)}
export TOP
exec perl -I "$TOP/t/lib" "$TOP/bench/outlive/outlive.pl" "$@"
