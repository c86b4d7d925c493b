#!/bin/bash
# What a credential costs that the gateway has not seen: every request brings a
# workspace token of its own, whose signature is verified, against plain nginx
# and against OpenSSL's verification alone (EVP with a kept key), alternating in
# one run on one worker. ROUNDS (default 5) of DURATION (default 3) seconds each.
set -euo pipefail
TOP=${TOP:-$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)}
export TOP
tool=$(mktemp -d /tmp/hop-miss.XXXXXX)
trap 'rm -rf "$tool"' EXIT
${CC:-gcc} -O2 -D_GNU_SOURCE -I "$TOP/plugins/lib" -o "$tool/tokens" "$TOP/bench/hop/tokens.c" "$TOP"/plugins/lib/jose/*.c \
    "$TOP"/plugins/lib/core/*.c -lcrypto -ljansson
perl -I "$TOP/t/lib" "$TOP/bench/hop/miss.pl" "$tool"
