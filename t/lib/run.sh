#!/bin/bash
# One test program, for prove --exec. A test below $BUILD/san ($BUILD/san/t is t) meets programs and an nginx module
# that were built with sanitizers, and fails when those say anything; every other test meets what people get.
set -euo pipefail

lib=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
said=
if [[ $(realpath -s "$1") = "$BUILD"/san/* ]]; then
    said=$(realpath -s "$1")
    said=${said#"$BUILD"/san/}
    said=$BUILD/san/said/${said//\//-} # its own: another test runs beside this one
    mkdir -p "$said"
    chmod 1777 "$said" # services write there under their own users
    rm -f "$said"/*
    export ASAN_OPTIONS=detect_leaks=1:log_path=$said/asan UBSAN_OPTIONS=print_stacktrace=1:log_path=$said/ubsan
    # A workspace's image has no libraries of sanitizers.
    export TEST_SUPERVISOR=$BUILD/c/workspace GITPOD_MODULE=$BUILD/module-asan/ngx_http_gitpod_module.so
    export BUILD=$BUILD/san
fi

program=$(readlink -f "$1")
if [ "${program%.t}" = "$program" ]; then
    command=("$program") # compiled
elif head -n 1 "$program" | grep -q '^#!.*sh$'; then
    command=(sh "$program")
else
    command=(perl -I "$lib" "$program")
fi
[ -n "$said" ] || exec "${command[@]}"

rc=0
"${command[@]}" || rc=$?
for report in "$said"/*; do
    if [ -f "$report" ]; then
        sed 's/^/# /' "$report" >&2
        rc=1
    fi
done
rmdir --ignore-fail-on-non-empty "$said"
exit "$rc"
