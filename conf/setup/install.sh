# shellcheck shell=bash
# An installed host: the same tree below PREFIX, the same run scripts, systemd
# in the place of runit.

cmd_install() {
    local dest p
    dest=${PREFIX:-/usr/local}/lib/gitpod
    need_root install
    cmd_deps
    lock_build
    compile_all
    rm -rf "$dest.new"
    mkdir -p "$dest.new/build/module" "$dest.new/build/c/proto"
    cp -R build.sh conf "$dest.new/"
    cp "$BUILD/module/ngx_http_gitpod_module.so" "$dest.new/build/module/"
    cp "$BUILD/c/proto/callers.map" "$BUILD/c/proto/gitpod.pb" "$dest.new/build/c/proto/"
    cp -R "$BUILD/supervisor" "$BUILD/dashboard" "$dest.new/build/"
    for p in "${SERVICES[@]}"; do
        install -D -m 755 "$BUILD/c/plugins/$p/$p" "$dest.new/build/c/plugins/$p/$p"
    done
    : > "$dest.new/.installed"
    rm -rf "$dest.old"
    [ ! -d "$dest" ] || mv "$dest" "$dest.old"
    mv "$dest.new" "$dest"
    rm -rf "$dest.old"
    mkdir -p "${PREFIX:-/usr/local}/bin"
    ln -sfn ../lib/gitpod/build.sh "${PREFIX:-/usr/local}/bin/gitpod"
    install -D -m 644 docs/man/gitpod.8 "${PREFIX:-/usr/local}/share/man/man8/gitpod.8"
    install -D -m 644 conf/completion/gitpod.bash "${PREFIX:-/usr/local}/share/bash-completion/completions/gitpod"
    install_units "$dest"
}

install_units() {
    local unit dir=${UNIT_DIR:-/etc/systemd/system}
    mkdir -p "$dir"
    for unit in "$TOP"/conf/systemd/*.in; do
        sed "s|@TOP@|$1|g" "$unit" > "$dir/$(basename "$unit" .in)"
    done
    for unit in nginx nginx2; do
        install -D -m 644 "$dir/nginx-drain.conf" "$dir/gitpod@$unit.service.d/drain.conf"
    done
    rm "$dir/nginx-drain.conf"
    echo "installed. Start with: systemctl daemon-reload && systemctl enable --now gitpod.target"
    echo "without systemd:       gitpod up"
}

# What gitpod-setup.service runs.
cmd_configure() {
    need_root configure
    check_certificates
    ensure_users
    ensure_dirs
    ensure_network_names
    configure_instance
}
