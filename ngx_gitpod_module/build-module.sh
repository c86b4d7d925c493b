#!/bin/bash
# Builds the nginx module against Debian's nginx-dev, out of tree:
#   build-module.sh BUILD_DIR        -> BUILD_DIR/module/ngx_http_gitpod_module.so
#   SANITIZE=1 build-module.sh ...   -> BUILD_DIR/module-asan/...
set -euo pipefail

[ $# = 1 ] || { echo "usage: $0 BUILD_DIR" >&2; exit 2; }

top=$(cd "$(dirname "$(readlink -f "$0")")/.." && pwd)
mkdir -p "$1"
build=$(cd "$1" && pwd)
nginx=/usr/share/nginx/src

[ -f "$nginx/conf_flags" ] || { echo "$nginx/conf_flags is not there: install nginx-dev" >&2; exit 1; }

# What nginx's own headers stand, with gcc 12 (the rest of the house's list they do not).
flags='-O2 -fPIC -fstack-protector-strong -fstack-clash-protection -Wextra -Wno-unused-parameter -Wshadow -Wcast-qual'
flags="$flags -Wcast-align -Wmissing-prototypes -Wstrict-prototypes -Wold-style-definition -Wvla -Wformat=2 -Wsign-compare"
flags="$flags -Wdeclaration-after-statement -Wnull-dereference -Wduplicated-cond -Wlogical-op -Wswitch-enum"
flags="$flags -Wimplicit-fallthrough -Werror -D_GNU_SOURCE"
link='-Wl,-z,relro,-z,now'

if [ "${SANITIZE:-}" = 1 ]; then
    out=$build/module-asan
    flags="$flags -fsanitize=address,undefined -fno-omit-frame-pointer -fno-sanitize-recover=undefined"
    link="$link -fsanitize=address,undefined"
else
    out=$build/module
    flags="$flags -D_FORTIFY_SOURCE=2"
fi

objs=$out/objs
mkdir -p "$out"

# Configured again when anything that decides about the makefile changed.
stamp=$(
    {
        echo "$flags" "$link" "$top"
        cat "$nginx/conf_flags" "$top/config" "$0"
        ls "$top"/ngx_gitpod_module/*/*.[ch] "$top"/plugins/lib/{core,jose}/*.[ch]
    } | sha256sum
)

if [ "$(cat "$out/stamp" 2> /dev/null)" != "$stamp" ]; then
    NGX_CONF_FLAGS=()
    # shellcheck disable=SC1091
    . "$nginx/conf_flags"
    rm -rf "$objs"
    if ! (cd "$nginx" && bash ./configure "${NGX_CONF_FLAGS[@]}" --builddir="$objs" --add-dynamic-module="$top" \
        --with-cc-opt="$flags" --with-ld-opt="$link") > "$out/configure.log" 2>&1; then
        cat "$out/configure.log" >&2
        exit 1
    fi
    printf '%s\n' "$stamp" > "$out/stamp"
fi

if ! make -C "$nginx" -f "$objs/Makefile" -j2 modules > "$out/make.log" 2>&1; then
    cat "$out/make.log" >&2
    exit 1
fi

so=$objs/ngx_http_gitpod_module.so
if ! cmp -s "$so" "$out/ngx_http_gitpod_module.so"; then
    # By rename: a running nginx keeps the file it has mapped.
    install -m 644 "$so" "$out/.ngx_http_gitpod_module.so.new"
    mv -f "$out/.ngx_http_gitpod_module.so.new" "$out/ngx_http_gitpod_module.so"
fi
