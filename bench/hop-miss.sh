#!/bin/bash
# What a credential costs that the gateway has not seen: every request brings a
# workspace token of its own, whose signature is verified, against plain nginx
# and against OpenSSL's verification alone (EVP with a kept key), alternating in
# one run on one worker. ROUNDS (default 5) of DURATION (default 3) seconds each.
#
# A worker that works 70 us for a request finds its client and its backend asleep
# and wakes them, twice a request; at plain nginx's own pace they are awake. What
# that costs (in virtual machines up to 10 us each) is the kernel's price of the
# pace, not of the gateway, so system time is compared with plain nginx that is
# made to work as long in user space (a pattern of PCRE that goes back and forth).
set -euo pipefail
TOP=${TOP:-$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)}
export TOP
tool=$(mktemp -d /tmp/hop-miss.XXXXXX)
trap 'rm -rf "$tool"' EXIT
${CC:-gcc} -O2 -D_GNU_SOURCE -I "$TOP/plugins/lib" -o "$tool/tokens" "$TOP/bench/hop/tokens.c" "$TOP"/plugins/lib/jose/*.c \
    "$TOP"/plugins/lib/core/*.c -lcrypto -ljansson
perl -I "$TOP/t/lib" "$TOP/bench/hop/miss.pl" "$tool"
