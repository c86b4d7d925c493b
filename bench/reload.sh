#!/bin/bash
# Reloads under load. First RELOADS (default 200) of them while clients open a
# connection for each request: nothing fails, and memory stays flat. Then 20
# while WebSockets are held, five more before each: how many old workers stay
# for them and how large they are, and that no WebSocket is lost before
# worker_shutdown_timeout.
set -euo pipefail
TOP=${TOP:-$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)}
export TOP
exec perl -I "$TOP/t/lib" "$TOP/bench/reload/reload.pl" "$@"
