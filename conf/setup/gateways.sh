# shellcheck shell=bash
# One gateway that listens on GITPOD_PORT, or, with GITPOD_GATEWAY_PORTS, two
# behind a load balancer of the operator's that does: one serves while the other
# restarts. The second has the same configuration, its own sockets below
# $GITPOD_RUN/second, and the same services behind it. In mode port the load
# balancer has the listeners of workspaces too, and each gateway one port for all.

# shellcheck disable=SC2034 # used by build.sh
set_gateways() {
    GITPOD_GATEWAY_PORTS=${GITPOD_GATEWAY_PORTS:-}
    GITPOD_GATEWAY_WORKSPACE_PORTS=${GITPOD_GATEWAY_WORKSPACE_PORTS:-}
    GITPOD_BALANCER=${GITPOD_BALANCER:-127.0.0.1}
    GATEWAYS=(nginx)
    GATEWAY_PORT=([1]=$GITPOD_PORT)
    GATEWAY_WORKSPACE_PORT=()
    two_gateways || return 0
    GATEWAYS=(nginx nginx2)
    GATEWAY_PORT=([1]=${GITPOD_GATEWAY_PORTS%% *} [2]=${GITPOD_GATEWAY_PORTS##* })
    ! mode_port || GATEWAY_WORKSPACE_PORT=([1]=${GITPOD_GATEWAY_WORKSPACE_PORTS%% *} [2]=${GITPOD_GATEWAY_WORKSPACE_PORTS##* })
}

two_gateways() {
    [ -n "$GITPOD_GATEWAY_PORTS" ]
}

check_gateway_settings() {
    if two_gateways && mode_port; then
        check_gateway_ports GITPOD_GATEWAY_WORKSPACE_PORTS '8083 8084'
    elif [ -n "$GITPOD_GATEWAY_WORKSPACE_PORTS" ]; then
        die "GITPOD_GATEWAY_WORKSPACE_PORTS is set: it goes with GITPOD_GATEWAY_PORTS and GITPOD_MODE=port only"
    fi
    two_gateways || return 0
    check_gateway_ports GITPOD_GATEWAY_PORTS '8081 8082'
    [[ $GITPOD_BALANCER =~ ^[0-9a-f.:]+(/[0-9]{1,3})?$ ]] || die "GITPOD_BALANCER is '$GITPOD_BALANCER': an address or network like 192.0.2.7 or 192.0.2.0/24"
    [ -z "$GITPOD_GRPC_PORT" ] || die "GITPOD_GATEWAY_PORTS does not go with GITPOD_GRPC_PORT: use gRPC by TLS, on the same port as everything else"
}

# check_gateway_ports NAME EXAMPLE: a port each, which nobody else has.
check_gateway_ports() {
    local p others=" $GITPOD_PORT $GITPOD_PROBE_PORT $((GITPOD_PROBE_PORT + 1)) $GITPOD_HTTP_PORT "
    [[ ${!1} =~ ^[1-9][0-9]{1,4}\ [1-9][0-9]{1,4}$ ]] || die "$1 is '${!1}': it must be two different ports like '$2'"
    [ "$1" = GITPOD_GATEWAY_PORTS ] || others+="$GITPOD_GATEWAY_PORTS "
    for p in ${!1}; do
        { ((p <= 65535)) && [ "${!1}" != "$p $p" ]; } || die "$1 is '${!1}': it must be two different ports like '$2'"
        ((p != GITPOD_PORT)) || die "$1 has $p, which is GITPOD_PORT: that one is the load balancer's"
        [[ $others != *" $p "* ]] || die "$1 has $p, which is another port of this instance: move one of them"
        ((p < LISTENER_FIRST || p > LISTENER_LAST)) || die "$1 has $p, which lies in GITPOD_PORT_RANGE $GITPOD_PORT_RANGE: those are the load balancer's"
    done
}

# with_gateway nginx|nginx2 COMMAND...: with the settings that differ.
# shellcheck disable=SC2034 # used by render()
with_gateway() {
    local n=1 LISTEN=$LISTEN WORKSPACE_LISTEN=$WORKSPACE_LISTEN
    local GITPOD_RUN=$GITPOD_RUN GITPOD_PROBE_PORT=$GITPOD_PROBE_PORT GITPOD_HTTP_PORT=$GITPOD_HTTP_PORT
    if [ "$1" = nginx2 ]; then
        n=2
        GITPOD_RUN=$GITPOD_RUN/second
        GITPOD_PROBE_PORT=$((GITPOD_PROBE_PORT + 1))
        # http_port is the first one's alone: it redirects, and answers ACME
        GITPOD_HTTP_PORT=${GITPOD_HTTP_PORT:+unix:$GITPOD_RUN/gateway/http/gateway.sock}
    fi
    if two_gateways; then
        WORKSPACE_LISTEN="${GATEWAY_WORKSPACE_PORT[n]:-${GATEWAY_PORT[n]}}${LISTEN#"$GITPOD_PORT"} proxy_protocol"
        LISTEN="${GATEWAY_PORT[n]}${LISTEN#"$GITPOD_PORT"} proxy_protocol"
    fi
    "${@:2}"
}

# Called with_gateway: what is its own, and the way to what it shares.
ensure_gateway_dirs() {
    local s
    ensure_dir "$GITPOD_RUN" 755 root:root
    ensure_dir "$GITPOD_RUN/conf" 755 root:root
    ensure_dir "$GITPOD_RUN/nginx" 755 root:root
    ensure_dir "$GITPOD_RUN/gateway" 755 root:root
    ensure_dir "$GITPOD_RUN/gateway/admin" 700 root:root
    ensure_dir "$GITPOD_RUN/gateway/self" 750 root:gitpod-gateway
    for s in "${SERVICES[@]}"; do
        ensure_dir "$GITPOD_RUN/gateway/$s" 750 "root:gitpod-$s"
    done
    [ "${GITPOD_RUN##*/}" = second ] || return 0
    ensure_dir "$GITPOD_RUN/gateway/http" 700 root:root
    ensure_dir "$GITPOD_RUN/sv" 755 root:root
    ln -sfn "$SV/nginx2" "$GITPOD_RUN/sv/nginx"
    for s in redis "${SERVICES[@]}"; do
        ln -sfn "../$s" "$GITPOD_RUN/$s"
    done
}

# Called with_gateway.
write_gateway_configuration() {
    local f
    for f in "$TOP"/conf/nginx/*.in; do
        render_to "$f" "$GITPOD_RUN/conf/$(basename "$f" .in)" 644 root:root
    done
    tls_on || rm -f "$GITPOD_RUN"/conf/nginx_tls*.conf
    mode_port || rm -f "$GITPOD_RUN/conf/nginx_listeners.conf"
    two_gateways || rm -f "$GITPOD_RUN/conf/nginx_balancer.conf"
}

# Called with_gateway: the administrator's socket, of one that answers.
gateway_answers() {
    curl -s -o /dev/null -m 2 --unix-socket "$GITPOD_RUN/gateway/admin/gateway.sock" http://gateway/drain
}

any_gateway_answers() {
    local g
    for g in "${GATEWAYS[@]}"; do
        with_gateway "$g" gateway_answers && return
    done
    return 1
}

gateway_run() {
    printf '%s' "$GITPOD_RUN"
}

# The run directory of a gateway that answers; of the first, when none does.
answering_run() {
    local g
    for g in "${GATEWAYS[@]}"; do
        if with_gateway "$g" gateway_answers; then
            with_gateway "$g" gateway_run
            return
        fi
    done
    printf '%s' "$GITPOD_RUN"
}

# There were two, and now there is one.
drop_second_gateway() {
    [ -d "$SV/nginx2" ] || return 0
    sv -w 40 force-stop "$SV/nginx2" > /dev/null || true
    rm -rf "$SV/nginx2" "$GITPOD_RUN/second"
}

gateways_ready() {
    local g
    for g in "${GATEWAYS[@]}"; do
        with_gateway "$g" probe ready || return 1
    done
}

# ready_text [SERVICE...]: what the gateways say, and what beside it does not run
# now: their checks find that out within seconds, or do not need it (Redis).
ready_text() {
    if ! gateways_ready; then
        printf 'no'
    elif [ $# = 0 ]; then
        printf 'yes'
    else
        printf 'yes, by the last checks (every 2 s); down now: %s' "$*"
    fi
}

set_gateways
