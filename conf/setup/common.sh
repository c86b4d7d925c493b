# shellcheck shell=bash
# Settings, steps and small helpers of build.sh. Sourced, never run.

# An installed copy has the settings that its systemd units have; the
# environment goes first.
read_settings() {
    local name value
    while IFS='=' read -r name value; do
        [[ $name =~ ^GITPOD_[A-Z_]+$ && -z ${!name+set} ]] || continue
        value=${value#[\"\']}
        printf -v "$name" '%s' "${value%[\"\']}"
        export "${name?}"
    done < "$1"
}

SETTINGS_FILE=/etc/default/gitpod
if [ -e "$TOP/.installed" ] && [ -r "$SETTINGS_FILE" ]; then
    read_settings "$SETTINGS_FILE"
fi

GITPOD_STATE=${GITPOD_STATE:-/var/lib/gitpod}
GITPOD_RUN=${GITPOD_RUN:-/run/gitpod}
GITPOD_TLS_CERTIFICATE=${GITPOD_TLS_CERTIFICATE:-}  # empty: no TLS
GITPOD_TLS_KEY=${GITPOD_TLS_KEY:-}
GITPOD_TLS_WORKSPACE_CERTIFICATE=${GITPOD_TLS_WORKSPACE_CERTIFICATE:-$GITPOD_TLS_CERTIFICATE}
GITPOD_TLS_WORKSPACE_KEY=${GITPOD_TLS_WORKSPACE_KEY:-$GITPOD_TLS_KEY}
GITPOD_TLS_STAPLING=${GITPOD_TLS_STAPLING:-off}
if [ -n "$GITPOD_TLS_CERTIFICATE" ]; then
    SCHEME=https
    SCHEME_PORT=443
    GITPOD_PORT=${GITPOD_PORT:-443}
    GITPOD_HTTP_PORT=${GITPOD_HTTP_PORT:-80}
    LISTEN="$GITPOD_PORT ssl http2"
else
    SCHEME=http
    SCHEME_PORT=80
    GITPOD_PORT=${GITPOD_PORT:-8080}
    GITPOD_HTTP_PORT= # only beside TLS
    LISTEN=$GITPOD_PORT
fi
GITPOD_GRPC_PORT=${GITPOD_GRPC_PORT:-}             # empty: no gRPC in clear
GITPOD_PROBE_ADDRESS=${GITPOD_PROBE_ADDRESS:-127.0.0.1}
GITPOD_PROBE_PORT=${GITPOD_PROBE_PORT:-9400}
GITPOD_DOMAIN=${GITPOD_DOMAIN:-gitpod.localhost}
GITPOD_WORKSPACE_DOMAIN=${GITPOD_WORKSPACE_DOMAIN:-ws-$GITPOD_DOMAIN}
GITPOD_CACHE=${GITPOD_CACHE:-/var/cache/gitpod}   # what can be made again: editor, images
GITPOD_IDLE_TIMEOUT=${GITPOD_IDLE_TIMEOUT:-1800}   # s
GITPOD_DRAIN_DELAY=${GITPOD_DRAIN_DELAY:-5}        # s
GITPOD_DRAIN_TIMEOUT=${GITPOD_DRAIN_TIMEOUT:-30}   # s
GITPOD_ALLOW_FILE_URLS=${GITPOD_ALLOW_FILE_URLS:-off}
GITPOD_IMAGE=${GITPOD_IMAGE:-localhost/gitpod-workspace:latest}
BUILD=${GITPOD_BUILD:-$TOP/build}

# Two instances with different states never share a name on the machine.
INSTALLATION=$(printf '%s' "$GITPOD_STATE" | sha256sum | cut -c1-8)

PORT_SUFFIX=
[ "$GITPOD_PORT" = "$SCHEME_PORT" ] || PORT_SUFFIX=:$GITPOD_PORT
EXTERNAL_URL=$SCHEME://$GITPOD_DOMAIN$PORT_SUFFIX
GRPC_LISTEN=
[ -z "$GITPOD_GRPC_PORT" ] || GRPC_LISTEN="listen $GITPOD_GRPC_PORT http2 default_server;"
GRPC_PORT_LISTEN=
[ -z "$GITPOD_GRPC_PORT" ] || GRPC_PORT_LISTEN="listen $GITPOD_GRPC_PORT http2;"

die() {
    printf 'build.sh: %s\n' "$*" >&2
    exit 1
}

# A wrong setting is named before anything is touched.
check_settings() {
    local v
    for v in GITPOD_STATE GITPOD_RUN GITPOD_CACHE; do
        [[ ${!v} =~ ^/[A-Za-z0-9._/-]+$ ]] || die "$v is '${!v}': it must be an absolute path of letters, digits and ._-/"
    done
    # sun_path has 108 bytes (unix(7)); the longest socket adds 34.
    [ ${#GITPOD_RUN} -le 60 ] || die "GITPOD_RUN is ${#GITPOD_RUN} characters long; a unix socket's path leaves it 60"
    for v in GITPOD_PORT GITPOD_PROBE_PORT GITPOD_IDLE_TIMEOUT ${GITPOD_GRPC_PORT:+GITPOD_GRPC_PORT} ${GITPOD_HTTP_PORT:+GITPOD_HTTP_PORT}; do
        [[ ${!v} =~ ^[1-9][0-9]{0,8}$ ]] || die "$v is '${!v}': it must be a number"
    done
    check_ports_differ GITPOD_PORT GITPOD_PROBE_PORT GITPOD_GRPC_PORT GITPOD_HTTP_PORT
    check_tls_settings
    check_mode_settings
    check_gateway_settings
    { [[ $GITPOD_DRAIN_DELAY =~ ^[0-9]{1,2}$ ]] && ((10#$GITPOD_DRAIN_DELAY <= 60)); } ||
        die "GITPOD_DRAIN_DELAY is '$GITPOD_DRAIN_DELAY': it must be 0 to 60 seconds"
    [[ $GITPOD_DRAIN_TIMEOUT =~ ^[1-9][0-9]{0,2}$ && $GITPOD_DRAIN_TIMEOUT -le 600 ]] ||
        die "GITPOD_DRAIN_TIMEOUT is '$GITPOD_DRAIN_TIMEOUT': it must be 1 to 600 seconds"
    for v in GITPOD_DOMAIN GITPOD_WORKSPACE_DOMAIN; do
        [[ ${!v} =~ ^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$ ]] || die "$v is '${!v}': it must be a host name in lower case"
    done
    [ "$GITPOD_DOMAIN" != "$GITPOD_WORKSPACE_DOMAIN" ] || die "GITPOD_WORKSPACE_DOMAIN must differ from GITPOD_DOMAIN: workspaces run strangers' code, and cookies ignore ports. Name another host or an address of this machine"
    case $GITPOD_ALLOW_FILE_URLS in on | off) ;; *) die "GITPOD_ALLOW_FILE_URLS is '$GITPOD_ALLOW_FILE_URLS': on or off" ;; esac
}

check_ports_differ() {
    local v
    local -A owner=()
    for v in "$@"; do
        [ -n "${!v}" ] || continue
        [ "${!v}" -le 65535 ] || die "$v is ${!v}: a port is at most 65535"
        [ -z "${owner[${!v}]:-}" ] || die "${owner[${!v}]} and $v are both ${!v}"
        owner[${!v}]=$v
    done
}

need_root() {
    [ "$(id -u)" = 0 ] || die "'$1' needs root: containers and services run under users of their own. Run: sudo ./build.sh $1"
}

# Two runs of build.sh over one build directory take turns.
lock_build() {
    mkdir -p "$BUILD"
    exec 9> "$BUILD/.lock"
    flock -w 1800 9 || die "another build.sh has held $BUILD/.lock for 30 minutes; stop it and try again"
}

now_ms() {
    local t=${EPOCHREALTIME/[.,]/}
    printf '%s' "${t%???}"
}

seconds_since() {
    local d=$(($(now_ms) - $1))
    printf '%d.%d' $((d / 1000)) $((d % 1000 / 100))
}

# step TEXT COMMAND...: one line with the time it took; a line of progress at
# least every 10 s; on failure the end of its output and where the rest is.
step() {
    local text=$1 log start pid rc=0 shown line
    shift
    mkdir -p "$BUILD/log"
    log=$BUILD/log/$(printf '%s' "$text" | tr -c 'a-z0-9\n' '-').log
    start=$(now_ms)
    shown=$start
    ("$@") > "$log" 2>&1 9>&- &
    pid=$!
    while kill -0 "$pid" 2> /dev/null; do
        if (($(now_ms) - shown >= 9000)); then
            shown=$(now_ms)
            line=$(tail -n 1 "$log" | tr -cd '[:print:]' | cut -c1-100)
            printf '     %s, %s s%s\n' "$text" "$(seconds_since "$start")" "${line:+: $line}"
        fi
        read -r -t 0.05 _ <> <(:) || true
    done
    wait "$pid" || rc=$?
    if [ "$rc" != 0 ]; then
        printf '%-44s FAILED after %s s\n' "$text" "$(seconds_since "$start")"
        tail -n 30 "$log" | sed 's/^/    /'
        die "'$text' failed (exit $rc). The whole output: $log"
    fi
    printf '%-44s %6s s\n' "$text" "$(seconds_since "$start")"
}

# wait_until SECONDS COMMAND...: polls the condition; the deadline is a failure.
wait_until() {
    local end=$((SECONDS + $1))
    shift
    until "$@" > /dev/null 2>&1; do
        ((SECONDS < end)) || return 1
        read -r -t 0.1 _ <> <(:) || true
    done
}

# render FILE: the template on standard output; a name nobody set is an error.
render() {
    local out
    out=$(sed \
        -e "s|@TOP@|$TOP|g" -e "s|@BUILD@|$BUILD|g" -e "s|@RUN@|$GITPOD_RUN|g" -e "s|@STATE@|$GITPOD_STATE|g" \
        -e "s|@ACCESS_LOG@|/dev/stdout|g" -e "s|@CACHE@|$GITPOD_CACHE|g" -e "s|@PORT@|$GITPOD_PORT|g" \
        -e "s|@LISTEN@|$LISTEN|g" -e "s|@GRPC_LISTEN@|$GRPC_LISTEN|g" -e "s|@GRPC_PORT_LISTEN@|$GRPC_PORT_LISTEN|g" -e "s|@HTTP_PORT@|$GITPOD_HTTP_PORT|g" \
        -e "s|@PORT_SUFFIX@|$PORT_SUFFIX|g" -e "s|@TLS_CERTIFICATE@|$GITPOD_TLS_CERTIFICATE|g" -e "s|@TLS_KEY@|$GITPOD_TLS_KEY|g" \
        -e "s|@TLS_WORKSPACE_CERTIFICATE@|$GITPOD_TLS_WORKSPACE_CERTIFICATE|g" -e "s|@TLS_WORKSPACE_KEY@|$GITPOD_TLS_WORKSPACE_KEY|g" \
        -e "s|@MODE@|$GITPOD_MODE|g" -e "s|@LISTENER_FIRST@|$LISTENER_FIRST|g" -e "s|@LISTENER_LAST@|$LISTENER_LAST|g" \
        -e "s|@WORKSPACE_LISTEN@|$WORKSPACE_LISTEN|g" -e "s|@WORKSPACE_NAMES@|$WORKSPACE_NAMES|g" -e "s|@WORKSPACE_HTTP_NAMES@|$WORKSPACE_HTTP_NAMES|g" \
        -e "s|@TLS_STAPLING@|$GITPOD_TLS_STAPLING|g" \
        -e "s|@PROBE_ADDRESS@|$GITPOD_PROBE_ADDRESS|g" -e "s|@PROBE_PORT@|$GITPOD_PROBE_PORT|g" \
        -e "s|@DOMAIN@|$GITPOD_DOMAIN|g" -e "s|@WORKSPACE_DOMAIN@|$GITPOD_WORKSPACE_DOMAIN|g" \
        -e "s|@EXTERNAL_URL@|$EXTERNAL_URL|g" -e "s|@EXTERNAL_SCHEME@|$SCHEME|g" -e "s|@INSTALLATION@|$INSTALLATION|g" \
        -e "s|@MODULE@|$BUILD/module/ngx_http_gitpod_module.so|g" -e "s|@DASHBOARD@|$BUILD/dashboard|g" \
        -e "s|@CALLERS_MAP@|$BUILD/c/proto/callers.map|g" -e "s|@DESCRIPTORS@|$BUILD/c/proto/gitpod.pb|g" -e "s|@BALANCER@|$GITPOD_BALANCER|g" -e "s|@WORKERS@|$(nproc)|g" -e "s|@ZONE_SIZE@|80m|g" \
        -e "s|@DRAIN_DELAY@|$GITPOD_DRAIN_DELAY|g" -e "s|@DRAIN_TIMEOUT@|$GITPOD_DRAIN_TIMEOUT|g" \
        -e "s|@SUPERVISOR_DIR@|$BUILD/supervisor|g" -e "s|@IDE_DIR@|$(ide_dir)|g" \
        -e "s|@BRIDGE@|${BRIDGE:-}|g" -e "s|@SUBNET@|${SUBNET:-}|g" -e "s|@CIDR@|${SUBNET:-}|g" -e "s|@NETWORK@|${NETWORK:-}|g" \
        -e "s|@IMAGE@|$GITPOD_IMAGE|g" -e "s|@UID_BASE@|${UID_BASE:-}|g" -e "s|@IDLE_TIMEOUT@|$GITPOD_IDLE_TIMEOUT|g" -e "s|@ALLOW_FILE_URLS@|$GITPOD_ALLOW_FILE_URLS|g" \
        "$1")
    if printf '%s\n' "$out" | grep -v '^ *#' | grep -n '@[A-Z_]*@' >&2; then
        die "$1 uses a name that build.sh does not set (above)"
    fi
    printf '%s\n' "$out"
}

# render_to FILE TARGET MODE OWNER
render_to() {
    render "$1" > "$2.new"
    chmod "$3" "$2.new"
    chown "$4" "$2.new"
    mv -f "$2.new" "$2"
}
