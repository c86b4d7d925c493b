#!/bin/bash
# What a circuit breaker does and costs: how soon after its backend died it answers alone, how many requests half open lets
# through, CPU of the closed path against the same upstream without it, alternating in one run on one worker, and CPU of a refused
# request against one that is proxied. ROUNDS (default 5) of DURATION (default 2) seconds each.
set -euo pipefail
TOP=${TOP:-$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)}
export TOP
exec perl -I "$TOP/t/lib" "$TOP/bench/breaker/breaker.pl" "$@"
