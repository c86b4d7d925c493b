#!/bin/bash
# A rolling restart of two gateways behind HAProxy under load (wrk, kept
# connections), ROUNDS (default 3) times both: as the process supervisor stops
# them, drained, and beside it with a plain SIGTERM and a plain SIGQUIT. Figure:
# requests that failed. HAProxy checks /ready every 500 ms and retries nothing.
set -euo pipefail
TOP=${TOP:-$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)}
export TOP
exec perl -I "$TOP/t/lib" "$TOP/bench/drain/drain.pl" "$@"
