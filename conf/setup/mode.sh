# shellcheck shell=bash
# How workspaces are reached: each by a host name of its own below W, or, without
# a wildcard in DNS and certificate, all by the name W and a listener each.

LISTENERS_MAX=1000 # GP_LISTENERS_MAX
LISTENER_MIN=1024  # GP_LISTENER_MIN

mode_port() {
    [ "$GITPOD_MODE" = port ]
}

# shellcheck disable=SC2034 # used by render()
set_mode() {
    GITPOD_MODE=${GITPOD_MODE:-host}
    GITPOD_PORT_RANGE=${GITPOD_PORT_RANGE:-}
    LISTENER_FIRST=0
    LISTENER_LAST=0
    WORKSPACE_LISTEN=$LISTEN
    WORKSPACE_NAMES="*.$GITPOD_WORKSPACE_DOMAIN"
    WORKSPACE_HTTP_NAMES=$WORKSPACE_NAMES
    WORKSPACE_EXAMPLE=3000-example.$GITPOD_WORKSPACE_DOMAIN # in the certificate of W
    mode_port || return 0
    GITPOD_PORT_RANGE=${GITPOD_PORT_RANGE:-10000-10099}
    LISTENER_FIRST=${GITPOD_PORT_RANGE%%-*}
    LISTENER_LAST=${GITPOD_PORT_RANGE##*-}
    WORKSPACE_LISTEN=$GITPOD_PORT_RANGE${LISTEN#"$GITPOD_PORT"}
    WORKSPACE_NAMES=$GITPOD_WORKSPACE_DOMAIN
    WORKSPACE_HTTP_NAMES= # http://W is nobody's
    WORKSPACE_EXAMPLE=$GITPOD_WORKSPACE_DOMAIN
    GRPC_PORT_LISTEN= # that port's number is no workspace's
}

check_mode_settings() {
    local v
    case $GITPOD_MODE in host | port) ;; *) die "GITPOD_MODE is '$GITPOD_MODE': host or port" ;; esac
    if ! mode_port; then
        [ -z "$GITPOD_PORT_RANGE" ] || die "GITPOD_PORT_RANGE is set but GITPOD_MODE is not port: set that too, or neither"
        return
    fi
    { [[ $GITPOD_PORT_RANGE =~ ^[1-9][0-9]{3,4}-[1-9][0-9]{3,4}$ ]] && ((LISTENER_FIRST >= LISTENER_MIN && LISTENER_LAST <= 65535 && LISTENER_FIRST < LISTENER_LAST)); } ||
        die "GITPOD_PORT_RANGE is '$GITPOD_PORT_RANGE': it must be two ports from $LISTENER_MIN to 65535 like 10000-10099, the lower first"
    ((LISTENER_LAST - LISTENER_FIRST < LISTENERS_MAX)) || die "GITPOD_PORT_RANGE is '$GITPOD_PORT_RANGE': at most $LISTENERS_MAX ports"
    for v in GITPOD_PORT GITPOD_PROBE_PORT GITPOD_GRPC_PORT GITPOD_HTTP_PORT; do
        [ -z "${!v}" ] || ((${!v} < LISTENER_FIRST || ${!v} > LISTENER_LAST)) || die "$v is ${!v}, which lies in GITPOD_PORT_RANGE $GITPOD_PORT_RANGE: move one of them"
    done
}

check_mode_ports() {
    local taken
    mode_port || return 0
    taken=$(ss -Hltn "sport >= :$LISTENER_FIRST and sport <= :$LISTENER_LAST" | awk '{print $4}' | head -n 1)
    [ -z "$taken" ] || die "$taken is in use by another program, and lies in GITPOD_PORT_RANGE $GITPOD_PORT_RANGE: stop it, or set another range"
}

set_mode
