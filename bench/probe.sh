#!/bin/bash
# What a probe costs: CPU of the worker for one /ready and one /ready?verbose,
# and how long it takes while both workers serve as much as wrk asks for. Beside
# it in the same run: "return 200" at the same port. ROUNDS (default 3).
set -euo pipefail
TOP=${TOP:-$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)}
export TOP
exec perl -I "$TOP/t/lib" "$TOP/bench/probe/probe.pl" "$@"
