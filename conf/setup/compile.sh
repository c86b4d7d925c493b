# shellcheck shell=bash
# Compiling: nginx module, C programs, dashboard. Each part decides in
# milliseconds that nothing changed.

compile_module() {
    "$TOP/ngx_gitpod_module/build-module.sh" "$BUILD"
}

compile_c() {
    [ -f "$BUILD/c/build.ninja" ] || meson setup "$BUILD/c" "$TOP" > "$BUILD/meson.log" || { cat "$BUILD/meson.log"; return 1; }
    ninja -C "$BUILD/c"
    mkdir -p "$BUILD/supervisor"
    local p
    for p in supervisor gp; do
        if ! cmp -s "$BUILD/c/workspace/$p" "$BUILD/supervisor/$p"; then
            # By rename: workspaces that run keep the file they have open.
            install -m 755 "$BUILD/c/workspace/$p" "$BUILD/supervisor/.$p.new"
            mv -f "$BUILD/supervisor/.$p.new" "$BUILD/supervisor/$p"
        fi
    done
}

dashboard_digest() {
    find dashboard proto/gitpod/v1 proto/gitpod/extension -type f -not -path '*/node_modules/*' -not -path 'dashboard/dist/*' -not -path 'dashboard/src/gen/*' -print0 |
        sort -z | xargs -0 sha256sum | sha256sum
}

compile_dashboard() {
    local digest
    digest=$(dashboard_digest)
    [ "$(cat "$BUILD/dashboard/.digest" 2> /dev/null)" = "$digest" ] && return
    rm -rf "$BUILD/dashboard.new"
    if [ ! -d dashboard/node_modules ] || [ dashboard/package-lock.json -nt dashboard/node_modules/.package-lock.json ]; then
        # Not `npm ci`: it fails where the registry lacks optional packages of other
        # platforms. This keeps to the lock file as well, and does not write it.
        (cd dashboard && with_node npm install --no-save)
    fi
    (cd dashboard && with_node npm run build -- --outDir "$BUILD/dashboard.new")
    printf '%s\n' "$digest" > "$BUILD/dashboard.new/.digest"
    rm -rf "$BUILD/dashboard.old"
    [ ! -d "$BUILD/dashboard" ] || mv "$BUILD/dashboard" "$BUILD/dashboard.old"
    mv "$BUILD/dashboard.new" "$BUILD/dashboard"
    rm -rf "$BUILD/dashboard.old"
}

compile_all() {
    # An installed tree has no sources.
    [ ! -e "$TOP/.installed" ] || return 0
    step 'nginx module' compile_module
    step 'services and supervisor' compile_c
    step 'dashboard' compile_dashboard
}
