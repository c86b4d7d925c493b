#!/bin/bash
# The only entry point: fetches, builds, starts, stops, tests.
set -euo pipefail

TOP=$(cd "$(dirname "$(readlink -f "$0")")" && pwd)
cd "$TOP"

# shellcheck source=conf/setup/common.sh
. "$TOP/conf/setup/common.sh"
# shellcheck source=conf/setup/mode.sh
. "$TOP/conf/setup/mode.sh"
# shellcheck source=conf/setup/tls.sh
. "$TOP/conf/setup/tls.sh"
# shellcheck source=conf/setup/deps.sh
. "$TOP/conf/setup/deps.sh"
# shellcheck source=conf/setup/services.sh
. "$TOP/conf/setup/services.sh"
# shellcheck source=conf/setup/gateways.sh
. "$TOP/conf/setup/gateways.sh"
# shellcheck source=conf/setup/compile.sh
. "$TOP/conf/setup/compile.sh"
# shellcheck source=conf/setup/install.sh
. "$TOP/conf/setup/install.sh"
# shellcheck source=conf/setup/test.sh
. "$TOP/conf/setup/test.sh"

usage() {
    cat << X
Usage: ./build.sh COMMAND

  up            install what is missing, build, start; ends with a log-in link
  down          stop workspaces and services; the state stays
  status        what runs, since when, with how much memory
  reload        nginx reads its configuration and certificates again
  drain [1|2]   take a gateway out of its load balancer, then stop it
  login-link    a fresh one-time log-in link of the administrator (1 hour)
  token [NAME]  a new personal access token of the administrator
  rotate-keys   a new key signs from now on; the old one still verifies
  flag          feature flags: flag list [USER] | set NAME on|off [percent=N]
                [users=USER,...] | delete NAME
  deps          fetch: packages, Node, editor, workspace image
  build         compile: nginx module, services, supervisor, dashboard
  test [TIER]   everything; TIER quick: style, build, unit, nginx (under 5 min)
  lint          style, layers, warnings, shellcheck, cppcheck, codespell
  bench [NAME]  run one measurement, or list them
  fuzz [SECONDS] run every fuzz target (default 60 s each)
  install       copy to PREFIX (default /usr/local) with systemd units
  clean         remove what build made (never the state)

Environment (default):
  GITPOD_STATE (/var/lib/gitpod)         everything it keeps
  GITPOD_RUN (/run/gitpod)               sockets and run-time files
  GITPOD_PORT (8080; with TLS 443)       where people come in
  GITPOD_TLS_CERTIFICATE, GITPOD_TLS_KEY (none)  PEM files: https (docs/operators/tls.md)
  GITPOD_TLS_WORKSPACE_CERTIFICATE, GITPOD_TLS_WORKSPACE_KEY (the same)  for *.W
  GITPOD_TLS_STAPLING (off)              on: OCSP answers with the certificate
  GITPOD_HTTP_PORT (80)                  with TLS: redirects to it, ACME http-01
  GITPOD_GRPC_PORT (none)                gRPC in clear, for the API
  GITPOD_PROBE_ADDRESS (127.0.0.1), GITPOD_PROBE_PORT (9400)
  GITPOD_DOMAIN (gitpod.localhost), GITPOD_WORKSPACE_DOMAIN (ws-\$GITPOD_DOMAIN)
  GITPOD_MODE (host)                     port: no wildcard (docs/operators/port-mode.md)
  GITPOD_PORT_RANGE (10000-10099)        mode port: listeners of workspaces
  GITPOD_GATEWAY_PORTS (none)            "8081 8082": two gateways there, behind your load
                                         balancer on GITPOD_PORT (docs/operators/second-gateway.md)
  GITPOD_GATEWAY_WORKSPACE_PORTS (none)  "8083 8084": beside those, in mode port
  GITPOD_BALANCER (127.0.0.1)            its address or network, with GITPOD_GATEWAY_PORTS
  GITPOD_DRAIN_DELAY (5)                 seconds from 503 at /ready to the stop
  GITPOD_DRAIN_TIMEOUT (30)              seconds that open WebSockets get then
  GITPOD_IDLE_TIMEOUT (1800)             seconds until an unused workspace stops
  GITPOD_ALLOW_FILE_URLS (off)           on: file:// repositories of this machine
  GITPOD_IMAGE (localhost/gitpod-workspace:latest)  what workspaces run
  GITPOD_CACHE (/var/cache/gitpod)       editor and images: can be made again
X
}

cmd_up() {
    local start
    need_root up
    check_certificates
    start=$(now_ms)
    cmd_deps
    lock_build
    compile_all
    start_instance
    printf '\nReady after %s s.\n\n  %s/\n\nSign in with this link (once, within an hour):\n\n  %s\n' \
        "$(seconds_since "$start")" "$EXTERNAL_URL" "$(login_link)"
}

start_instance() {
    ensure_users
    ensure_dirs
    ensure_network_names
    if supervisor_pid > /dev/null; then
        step 'configuration' configure_instance
        step 'restart of what changed' restart_changed
    else
        check_ports
        step 'configuration' configure_instance
        remember_versions
        start_supervisor
    fi
    step 'services ready' wait_ready
}

configure_instance() {
    ensure_machine
    ensure_secrets
    write_configuration
}

# What a running service was started from; a changed binary or configuration
# restarts that service and no other. Workspaces stay.
service_version() {
    case $1 in
    nginx*) cat "$BUILD/module/ngx_http_gitpod_module.so" "$BUILD/c/proto/callers.map" "$(with_gateway "$1" gateway_run)"/conf/nginx*.conf "$SV/$1/run" ;;
    redis) cat "$GITPOD_RUN/conf/redis.conf" "$GITPOD_STATE/secrets/redis.acl" "$SV/redis/run" ;;
    engine) cat "$GITPOD_RUN/conf/containers.conf" "$GITPOD_RUN/conf/storage.conf" "$SV/engine/run" ;;
    *) cat "$BUILD/c/plugins/$1/$1" "$GITPOD_RUN/conf/$1.conf" "$SV/$1/run" ;;
    esac | sha256sum
}

remember_versions() {
    local s
    for s in engine redis "${SERVICES[@]}" "${GATEWAYS[@]}"; do
        service_version "$s" > "$SV/$s/version"
    done
}

restart_changed() {
    local s
    for s in engine redis "${SERVICES[@]}" "${GATEWAYS[@]}"; do
        if [ "$(service_version "$s")" != "$(cat "$SV/$s/version" 2> /dev/null)" ]; then
            echo "restarting $s"
            restart_service "$s"
        elif ! service_runs "$s"; then
            echo "starting $s" # after a drain
            sv -w 10 start "$SV/$s"
        fi
    done
    remember_versions
}

# One of two gateways hands over to the other; the next one waits for it.
restart_service() {
    case $1 in
    nginx*)
        if two_gateways; then
            sv -w $((GITPOD_DRAIN_DELAY + GITPOD_DRAIN_TIMEOUT + 10)) restart "$SV/$1"
            wait_until 60 with_gateway "$1" probe ready || die "$1 is not ready after its restart: see $GITPOD_STATE/log/$1"
            return
        fi
        stop_nginx_at_once "$1"
        ;;
    esac
    sv -w 40 restart "$SV/$1" || sv -w 10 force-restart "$SV/$1"
}

# Past the drain of control/t: who restarts or stops the whole instance has
# nobody to hand over to, and would only wait.
stop_nginx_at_once() {
    local pid
    pid=$(cat "$SV/$1/supervise/pid" 2> /dev/null) && [ -n "$pid" ] || return 0
    sv once "$SV/$1" > /dev/null
    kill -TERM "$pid" 2> /dev/null || return 0
    wait_until 35 gone "$pid" || echo "nginx (pid $pid) does not end on SIGTERM"
}

login_link() {
    admin AuthService CreateLoginLink '{}' | jq -r .url
}

cmd_token() {
    need_root token
    admin AuthService CreateToken "$(jq -cn --arg name "${1:-build.sh token}" '{name:$name,scopes:["function:*","resource:default"]}')" | jq -r .value
}

running_workspaces() {
    admin WorkspaceManagerService ListWorkspaces '{"limit":2048}' |
        jq -r '.workspaces[]? | select((.instance.phase // "PHASE_STOPPED") != "PHASE_STOPPED") | .id'
}

stop_workspaces() {
    local id
    for id in $(running_workspaces); do
        echo "stopping $id"
        admin WorkspaceManagerService StopWorkspace "{\"workspaceId\":\"$id\"}" > /dev/null
    done
    wait_until 90 no_running_workspaces
}

no_running_workspaces() {
    [ -z "$(running_workspaces)" ]
}

stop_services() {
    local pid s
    pid=$(supervisor_pid) || return 0
    # The door first, then what is behind it, the feed and the engine last.
    for s in "${GATEWAYS[@]}"; do
        stop_nginx_at_once "$s"
    done
    for s in "${GATEWAYS[@]}" "${SERVICES[@]}" redis engine; do
        sv -w 35 force-stop "$SV/$s" || true
    done
    kill -HUP "$pid"
    wait_until 10 gone "$pid" || kill -KILL "$pid"
    rm -f "$GITPOD_RUN/runsvdir.pid"
}

gone() {
    ! kill -0 "$1" 2> /dev/null
}

# What a killed supervisor left: containers of this instance, its rules, its bridge.
stop_leftovers() {
    export CONTAINERS_CONF=$GITPOD_RUN/conf/containers.conf CONTAINERS_STORAGE_CONF=$GITPOD_RUN/conf/storage.conf
    if [ -f "$CONTAINERS_STORAGE_CONF" ]; then
        podman ps -aq 2> /dev/null | xargs -r podman rm -f -t 5 > /dev/null || true
    fi
    nft delete table inet "gitpod_$INSTALLATION" 2> /dev/null || true
    ip link delete "$BRIDGE" 2> /dev/null || true
    if mountpoint -q "$GITPOD_STATE/content"; then
        umount -l "$GITPOD_STATE/content"
    fi
}

cmd_down() {
    need_root down
    ensure_network_names
    if supervisor_pid > /dev/null; then
        if any_gateway_answers; then
            step 'workspaces stopped' stop_workspaces
        fi
        step 'services stopped' stop_services
    fi
    step 'nothing left behind' stop_leftovers
    rm -rf "$SV"
}

# Whoever started it: runsvdir of ours, or systemd by runsv.
service_runs() {
    local pid
    pid=$(cat "$SV/$1/supervise/pid" 2> /dev/null) && [ -n "$pid" ] && [ -d "/proc/$pid" ]
}

cmd_status() {
    local s pid since pss p total=0 down=()
    if ! supervisor_pid > /dev/null && ! service_runs nginx; then
        echo "gitpod is not running (state: $GITPOD_STATE). Start it with ./build.sh up"
        return 3
    fi
    need_root status
    printf '%-12s %-8s %8s %-20s %10s\n' SERVICE STATE PID SINCE 'MEMORY KB'
    for s in "${GATEWAYS[@]}" "${SERVICES[@]}" redis engine; do
        pid=$(cat "$SV/$s/supervise/pid" 2> /dev/null || true)
        if [ -z "$pid" ]; then
            printf '%-12s %-8s\n' "$s" down
            down+=("$s")
            continue
        fi
        since=$(date -d "$(ps -o lstart= -p "$pid")" '+%Y-%m-%d %H:%M:%S')
        pss=0
        for p in $pid $(pgrep -P "$pid" || true); do
            pss=$((pss + $(awk '/^Pss:/ {print $2}' "/proc/$p/smaps_rollup" 2> /dev/null || echo 0)))
        done
        total=$((total + pss))
        printf '%-12s %-8s %8s %-20s %10s\n' "$s" run "$pid" "$since" "$pss"
    done
    printf '%-12s %-8s %8s %-20s %10s\n\n' total '' '' '(PSS)' "$total"
    printf 'ready: %s   %s/   state: %s\n' "$(ready_text "${down[@]}")" "$EXTERNAL_URL" "$GITPOD_STATE"
    admin WorkspaceManagerService ListWorkspaces '{"limit":2048}' |
        jq -r '.workspaces[]? | [.id, ((.instance.phase // "PHASE_STOPPED") | ltrimstr("PHASE_") | ascii_downcase), (.contextUrl // "")] | @tsv' |
        sed 's/^/workspace  /'
}

# What a load balancer needs: 503 at /ready, time to see it, then the stop.
cmd_drain() {
    local g
    need_root drain
    case $#:${1:-1} in
    *:2) two_gateways || die "there is no second gateway (GITPOD_GATEWAY_PORTS is not set)" ;;
    0:1) ! two_gateways || die "there are two gateways: ./build.sh drain 1 or ./build.sh drain 2" ;;
    1:1) ;;
    *) die "drain takes the gateway's number, 1 or 2, not '$*'" ;;
    esac
    g=${GATEWAYS[${1:-1} - 1]}
    service_runs "$g" || die "the gateway does not run here (state: $GITPOD_STATE)"
    step 'gateway drained and stopped' sv -w $((GITPOD_DRAIN_DELAY + GITPOD_DRAIN_TIMEOUT + 10)) stop "$SV/$g"
    echo "It starts again with ./build.sh up"
}

cmd_flag() {
    local verb=${1:-} name=${2:-}
    need_root flag
    case $verb:$# in
    list:1 | list:2) flag_list "$name" ;;
    set:[3-5]) flag_set "${@:2}" ;;
    delete:2) admin FlagService DeleteFlag "$(jq -cn --arg name "$name" '{name:$name}')" > /dev/null ;;
    *) die "flag list [USER], flag set NAME on|off [percent=N] [users=USER,...] or flag delete NAME; not 'flag $*'" ;;
    esac
}

# flag_list [USER]: what is set, and whether it is on for that user (an id, a name or an e-mail).
flag_list() {
    local user
    [[ $1 != *,* ]] || die "'$1': flag list takes one user"
    user=$(user_ids "$1")
    admin FlagService ListFlags "$(jq -cn --arg user "$user" '{userId:$user}')" | jq -r --arg user "$user" '
        ["NAME", "FLAG", "PERCENT", "FOR USER", "USERS"],
        (.flags[]? | [.name, (if .on then "on" else "off" end), (.percent // 0 | tostring),
            (if $user == "" then "-" elif .onForUser then "on" else "off" end), (.users // [] | join(","))]) | @tsv' |
        awk -F '\t' '{ printf "%-32s %-5s %-8s %-9s %s\n", $1, $2, $3, $4, $5 }'
}

# flag_set NAME on|off [percent=N] [users=USER,...]
flag_set() {
    local name=$1 on=$2 option percent=null users=
    case $on in on) on=true ;; off) on=false ;; *) die "a flag is set to on or off, not '$on'" ;; esac
    for option in "${@:3}"; do
        case $option in
        percent=*)
            percent=${option#percent=}
            [[ $percent =~ ^[0-9]{1,3}$ ]] || die "'$option': a percentage is a number from 0 to 100"
            percent=$((10#$percent))
            ;;
        users=) die "'users=' names nobody: leave it out, and the flag is for everybody" ;;
        users=*) users=$(user_ids "${option#users=}") ;;
        *) die "'$option' is neither percent=N nor users=USER,..." ;;
        esac
    done
    admin FlagService SetFlag "$(jq -cn --arg name "$name" --argjson on "$on" --argjson percent "$percent" --arg users "$users" \
        '{name:$name, on:$on, users:($users | split(",")), percent:$percent} | with_entries(select(.value != null))')" > /dev/null
    grep -qF "gitpod_flag $name " "$GITPOD_RUN/conf/nginx_flags.conf" ||
        echo "build.sh: set; but nothing in $GITPOD_RUN/conf/nginx_flags.conf declares the flag '$name': services do not see it" >&2
}

# After a renewal: new connections get the new certificate.
cmd_reload() {
    local g
    need_root reload
    service_runs nginx || die "nginx does not run here: start it with ./build.sh up"
    check_certificates
    for g in "${GATEWAYS[@]}"; do
        nginx -t -q -e stderr -c "$(with_gateway "$g" gateway_run)/conf/nginx.conf" || die "nginx refuses its configuration (above): nothing was changed"
    done
    for g in "${GATEWAYS[@]}"; do
        sv hup "$SV/$g" > /dev/null
    done
    echo 'reloaded'
}

# New tokens are signed by it after a moment in which every gateway has heard
# of it; the old one verifies until the last token it signed has expired.
cmd_rotate_keys() {
    need_root rotate-keys
    echo "new signing key: $(admin AuthService RotateKeys '{}' | jq -r .keyId)"
}

cmd_login_link() {
    need_root login-link
    login_link
}

main() {
    local command=${1:-help}
    [ $# = 0 ] || shift
    case $command in
    build | test | lint | bench | fuzz | install | clean)
        [ ! -e "$TOP/.installed" ] || die "'$command' works in a checkout; this is the installed copy in $TOP"
        ;;
    esac
    check_settings
    case $command in
    up) cmd_up ;;
    down) cmd_down ;;
    status) cmd_status ;;
    deps) cmd_deps ;;
    build) lock_build; compile_all ;;
    test) cmd_test "$@" ;;
    lint) cmd_lint ;;
    bench) cmd_bench "$@" ;;
    fuzz) cmd_fuzz "$@" ;;
    reload) cmd_reload ;;
    login-link) cmd_login_link ;;
    token) cmd_token "$@" ;;
    rotate-keys) cmd_rotate_keys ;;
    drain) cmd_drain "$@" ;;
    flag) cmd_flag "$@" ;;
    install) cmd_install ;;
    configure) cmd_configure ;;
    clean) rm -rf "$BUILD" ;;
    help | -h | --help) usage ;;
    *)
        die "there is no command '$command'; ./build.sh --help names all"
        ;;
    esac
}

main "$@"
