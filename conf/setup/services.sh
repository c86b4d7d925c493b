# shellcheck shell=bash
# One instance: users, directories, secrets, network, run scripts, supervisor.

SERVICES=(auth content ide public_api ws_manager)
SV=$GITPOD_RUN/sv
INSTANCES=${GITPOD_INSTANCES:-/var/lib/gitpod-instances}

# What instances share is made by one build.sh at a time, whatever its state.
with_machine_lock() {
    (
        flock -w 60 7 || die "another build.sh has held $INSTANCES for a minute"
        "$@"
    ) 7>> "$INSTANCES"
}

ensure_user() {
    getent passwd "$1" > /dev/null || useradd --system --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin "$1"
}

ensure_users() {
    with_machine_lock add_users
}

add_users() {
    local s
    for s in gateway redis "${SERVICES[@]}"; do
        ensure_user "gitpod-$s"
    done
    # Who may enter the directory of Redis' socket.
    for s in gateway auth ws_manager; do
        id -nG "gitpod-$s" | grep -qw gitpod-redis || usermod -aG gitpod-redis "gitpod-$s"
    done
}

ensure_machine() {
    with_machine_lock prepare_machine
}

prepare_machine() {
    prepare_user_namespaces
    prepare_network_namespaces
    prepare_cgroups
    sysctl -q -w net.ipv4.ip_forward=1
}

# Podman takes them from these ranges.
prepare_user_namespaces() {
    local f
    for f in /etc/subuid /etc/subgid; do
        grep -qs '^containers:' "$f" || echo 'containers:100000000:4100000000' >> "$f"
    done
}

# Podman 4.3 leaves the network of containers behind unless it is a shared
# mount (on systemd machines it is).
prepare_network_namespaces() {
    mkdir -p /run/netns
    mountpoint -q /run/netns || mount --bind /run/netns /run/netns
    mount --make-shared /run/netns
}

# crun 1.8 refuses hybrid cgroups with a v2 controller it cannot manage: on
# such machines hugetlb is mounted as v1. Pure v2 machines are left alone.
prepare_cgroups() {
    if [ "$(stat -fc %T /sys/fs/cgroup)" = tmpfs ] && ! mountpoint -q /sys/fs/cgroup/hugetlb &&
        grep -q '^hugetlb' /proc/cgroups; then
        mkdir -p /sys/fs/cgroup/hugetlb
        mount -t cgroup -o hugetlb hugetlb /sys/fs/cgroup/hugetlb || rmdir /sys/fs/cgroup/hugetlb
        echo "hybrid cgroups: mounted the hugetlb controller as v1, crun needs it"
    fi
}

ensure_dir() { # PATH MODE OWNER
    [ -d "$1" ] || mkdir -p "$1"
    chown "$3" "$1"
    chmod "$2" "$1"
}

ensure_dirs() {
    local s
    ensure_dir "$GITPOD_STATE" 755 root:root
    ensure_dir "$GITPOD_STATE/secrets" 711 root:root
    ensure_dir "$GITPOD_STATE/engine" 711 root:root
    ensure_dir "$GITPOD_STATE/log" 700 root:root # who visited what
    ensure_dir "$GITPOD_STATE/acme" 755 root:root
    ensure_dir "$GITPOD_STATE/keys" 755 gitpod-auth:gitpod-auth
    ensure_dir "$GITPOD_STATE/auth" 700 gitpod-auth:gitpod-auth
    ensure_dir "$GITPOD_STATE/ws_manager" 700 gitpod-ws_manager:gitpod-ws_manager
    ensure_dir "$GITPOD_STATE/content" 711 gitpod-content:gitpod-content
    ensure_dir "$GITPOD_STATE/redis" 700 gitpod-redis:gitpod-redis
    for s in "${GATEWAYS[@]}"; do
        with_gateway "$s" ensure_gateway_dirs
    done
    two_gateways || drop_second_gateway
    ensure_dir "$GITPOD_RUN/redis" 750 gitpod-redis:gitpod-redis
    ensure_dir "$GITPOD_RUN/engine" 2750 root:gitpod-ws_manager
    ensure_dir "$GITPOD_RUN/instances" 711 gitpod-ws_manager:gitpod-ws_manager
    for s in "${SERVICES[@]}"; do
        ensure_dir "$GITPOD_RUN/$s" 2750 "gitpod-$s:gitpod-gateway"
    done
    ensure_mounts
}

# crun 1.8 forgets nosuid and nodev of a bind mount in a user namespace; a mount
# that has them hands them on.
ensure_mounts() {
    mountpoint -q "$GITPOD_STATE/content" || mount --bind "$GITPOD_STATE/content" "$GITPOD_STATE/content"
    mount -o remount,bind,nosuid,nodev "$GITPOD_STATE/content"
}

# Passwords of Redis' users: one file each, readable by its user only; Redis
# gets their SHA-256. Root writes into directories of its own only: in Redis'
# a link could lead it elsewhere.
ensure_secrets() {
    local user owner file acl=$GITPOD_STATE/secrets/redis.acl
    for user in gateway auth ws_manager; do
        file=$GITPOD_STATE/secrets/redis-$user
        owner=root:gitpod-$user
        if [ ! -s "$file" ]; then
            (umask 077 && head -c 32 /dev/urandom | base64 -w 0 | tr -d '/+=' > "$file.new" && mv "$file.new" "$file")
        fi
        chown "$owner" "$file"
        chmod 440 "$file"
    done
    {
        printf 'user default off\n'
        printf 'user gateway on #%s ~gitpod:* &gitpod:* -@all +@connection +@read +@pubsub +info -publish (+publish resetchannels &gitpod:limits:changes)\n' "$(secret_sha256 gateway)"
        printf 'user auth on #%s ~gitpod:revocations ~gitpod:keys ~gitpod:flags &gitpod:revocations:changes &gitpod:keys:changes &gitpod:flags:changes -@all +@connection +@read +@hash +@string +publish +@scripting +del\n' "$(secret_sha256 auth)"
        printf 'user ws_manager on #%s ~gitpod:routes ~gitpod:events &gitpod:routes:changes &gitpod:events:changes -@all +@connection +@read +@hash +xadd +publish +@scripting +del\n' "$(secret_sha256 ws_manager)"
    } > "$acl.new"
    chown root:gitpod-redis "$acl.new"
    chmod 440 "$acl.new"
    mv "$acl.new" "$acl"
}

secret_sha256() {
    tr -d '\n' < "$GITPOD_STATE/secrets/redis-$1" | sha256sum | cut -d' ' -f1
}

# The instances of this machine take turns: each has a number, the lowest that no
# other state directory holds, and from it a subnet and a range of uids that
# nobody shares. Kept for the life of the state directory.
INSTANCES_MAX=30 # 30 x 2048 workspaces x 65536 uids fit into 32 bits

# shellcheck disable=SC2034 # used by render() and build.sh
ensure_network_names() {
    local file=$GITPOD_STATE/network.env
    BRIDGE=gp-$INSTALLATION
    NETWORK=gitpod-$INSTALLATION
    if [ ! -s "$file" ]; then
        [ -d "$GITPOD_STATE" ] || return 0
        with_machine_lock take_instance "$file"
    fi
    # shellcheck disable=SC1090
    . "$file"
}

# take_instance FILE: under the lock. Numbers of states that are gone are free again.
take_instance() {
    local n state lines='' a
    while read -r n state; do
        if [ "$state" != "$GITPOD_STATE" ] && [ -s "$state/network.env" ]; then
            lines+="$n $state"$'\n'
        fi
    done < "$INSTANCES"
    for ((n = 0; n < INSTANCES_MAX; n++)); do
        a=$((64 + n))
        if ! grep -q "^$n " <<< "$lines" && ! subnet_taken "10.$a.0.1"; then
            printf 'SUBNET=10.%d.0.0/20\nUID_BASE=%d\n' "$a" $((100000000 + n * 134217728)) > "$1.new"
            mv "$1.new" "$1"
            printf '%s%s %s\n' "$lines" "$n" "$GITPOD_STATE" > "$INSTANCES"
            return
        fi
    done
    die "no subnet 10.64.0.0/20 to 10.$((63 + INSTANCES_MAX)).0.0/20 is free on this machine: remove state directories named in $INSTANCES"
}

# A route to it that is not the default one: somebody's network.
subnet_taken() {
    ip -4 route show to match "$1" | grep -qv '^default'
}

write_configuration() {
    local f s
    for s in "${GATEWAYS[@]}"; do
        with_gateway "$s" write_gateway_configuration
    done
    for f in "$TOP"/conf/plugins/*.in "$TOP"/conf/redis/*.in "$TOP"/conf/engine/*.in "$TOP"/conf/ide/*.in; do
        render_to "$f" "$GITPOD_RUN/conf/$(basename "$f" .in)" 644 root:root
    done
    for s in engine redis "${SERVICES[@]}" "${GATEWAYS[@]}"; do
        mkdir -p "$SV/$s/log" "$GITPOD_STATE/log/$s"
        case $s in
        engine | redis) render_to "$TOP/conf/runit/$s.run.in" "$SV/$s/run" 755 root:root ;;
        nginx*)
            mkdir -p "$SV/$s/control"
            with_gateway "$s" render_to "$TOP/conf/runit/nginx.run.in" "$SV/$s/run" 755 root:root
            with_gateway "$s" render_to "$TOP/conf/runit/nginx.drain.in" "$SV/$s/control/t" 755 root:root
            ;;
        *) SERVICE=$s render_service "$s" ;;
        esac
        printf '#!/bin/sh\nexec svlogd -tt "%s"\n' "$GITPOD_STATE/log/$s" > "$SV/$s/log/run"
        printf 's1000000\nn5\n' > "$GITPOD_STATE/log/$s/config"
        chmod 755 "$SV/$s/log/run"
    done
}

# The run script of a plugin: its user, its capabilities, nothing else.
render_service() {
    local caps='' s=$1
    case $s in
    content) caps=+chown,+dac_override,+fowner,+setuid,+setgid,+kill ;;
    ws_manager) caps=+net_admin ;;
    esac
    {
        printf '#!/bin/sh\nexec 2>&1\numask 007\ncd /\n'
        printf 'exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin %s setpriv --reuid gitpod-%s --regid gitpod-%s --init-groups' \
            "$(proxy_variables)" "$s" "$s"
        [ -z "$caps" ] || printf ' --inh-caps %s --ambient-caps %s' "-all,$caps" "-all,$caps"
        printf ' "%s/c/plugins/%s/%s" --config "%s/conf/%s.conf"\n' "$BUILD" "$s" "$s" "$GITPOD_RUN" "$s"
    } > "$SV/$s/run.new"
    chmod 700 "$SV/$s/run.new" # a proxy may have a password
    mv -f "$SV/$s/run.new" "$SV/$s/run"
}

# git reaches the world the way the operator's shell does.
proxy_variables() {
    local v
    for v in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY; do
        [ -z "${!v:-}" ] || printf "%s='%s' " "$v" "${!v//\'/}"
    done
}

supervisor_pid() {
    local pid
    pid=$(cat "$GITPOD_RUN/runsvdir.pid" 2> /dev/null) || return 1
    [ -r "/proc/$pid/cmdline" ] && tr '\0' ' ' < "/proc/$pid/cmdline" | grep -qF "runsvdir -P $SV" || return 1
    printf '%s' "$pid"
}

probe() {
    curl -s -o /dev/null -m 2 -f "http://$GITPOD_PROBE_ADDRESS:$GITPOD_PROBE_PORT/$1"
}

check_ports() {
    local p
    # (With two gateways GITPOD_PORT is the load balancer's, and so are listeners.)
    for p in "${GATEWAY_PORT[@]}" "${GATEWAY_WORKSPACE_PORT[@]}" "$GITPOD_PROBE_PORT" ${GITPOD_GRPC_PORT:+"$GITPOD_GRPC_PORT"} ${GITPOD_HTTP_PORT:+"$GITPOD_HTTP_PORT"}; do
        if ss -Hltn "sport = :$p" | grep -q .; then
            die "port $p is in use by another program: stop it, or set GITPOD_PORT / GITPOD_PROBE_PORT / GITPOD_GRPC_PORT / GITPOD_HTTP_PORT to a free one"
        fi
    done
    two_gateways || check_mode_ports
}

start_supervisor() {
    local s
    # Everything below the run directory is ours and made anew at each start.
    for s in "$SV"/*; do
        rm -f "$s/down"
    done
    setsid env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin runsvdir -P "$SV" > /dev/null 2>&1 < /dev/null 9>&- &
    echo $! > "$GITPOD_RUN/runsvdir.pid"
}

wait_ready() {
    wait_until 60 gateways_ready && return
    echo "not ready after 60 s. The checks say:"
    curl -s -m 5 "http://$GITPOD_PROBE_ADDRESS:$GITPOD_PROBE_PORT/ready?verbose" || echo "the gateway does not answer; see $GITPOD_STATE/log/nginx"
    return 1
}

# user_ids WHO,...: the ids of those who are given by id, name or e-mail. Auth
# tells by name of nobody but the administrator, who is the only user so far.
user_ids() {
    local who id known ids=()
    local -a all
    IFS=, read -ra all <<< "$1"
    for who in "${all[@]}"; do
        id=${who,,}
        if ! [[ $id =~ ^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$ ]]; then
            known=$(admin AuthService GetUser '{}') || return
            id=$(jq -er --arg who "$who" '.user | select($who != "" and (.name == $who or .email == $who)) | .id' <<< "$known") ||
                die "there is no user '$who'; the administrator is $(jq -r '.user | "\(.name), \(.id)"' <<< "$known"); everybody's id is under Settings, Account"
        fi
        ids+=("$id")
    done
    (IFS=,; printf '%s' "${ids[*]-}")
}

# admin SERVICE METHOD JSON: a call as the administrator, over the socket that
# only root can reach.
admin() {
    local reply status socket
    socket=$(answering_run)/gateway/admin/gateway.sock
    [ -S "$socket" ] || die "gitpod is not running here (no $socket): start it with ./build.sh up"
    reply=$(curl -sS -m 30 --unix-socket "$socket" -H 'Content-Type: application/json' \
        -w '\n%{http_code}' --data "$3" "http://gateway/gitpod.internal.v1.$1/$2") || die "the gateway does not answer; ./build.sh status says what runs"
    status=${reply##*$'\n'}
    reply=${reply%$'\n'*}
    [ "$status" = 200 ] || die "$2: $(printf '%s' "$reply" | jq -r '.message // .' 2> /dev/null || printf '%s' "$reply")"
    printf '%s\n' "$reply"
}
