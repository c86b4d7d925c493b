# shellcheck shell=bash
# TLS at the gateway: on when GITPOD_TLS_CERTIFICATE is set.

tls_on() {
    [ -n "$GITPOD_TLS_CERTIFICATE" ]
}

# Names that nobody needs to look into files for.
check_tls_settings() {
    local v
    if ! tls_on; then
        for v in GITPOD_TLS_KEY GITPOD_TLS_WORKSPACE_CERTIFICATE GITPOD_TLS_WORKSPACE_KEY; do
            [ -z "${!v}" ] || die "$v is set but GITPOD_TLS_CERTIFICATE is not: name the certificate too, or neither"
        done
        return
    fi
    for v in GITPOD_TLS_CERTIFICATE GITPOD_TLS_KEY GITPOD_TLS_WORKSPACE_CERTIFICATE GITPOD_TLS_WORKSPACE_KEY; do
        [ -n "${!v}" ] || die "$v is not set: a certificate and its key go together"
        [[ ${!v} =~ ^/[A-Za-z0-9._/-]+$ ]] || die "$v is '${!v}': it must be an absolute path of letters, digits and ._-/"
    done
    case $GITPOD_TLS_STAPLING in on | off) ;; *) die "GITPOD_TLS_STAPLING is '$GITPOD_TLS_STAPLING': on or off" ;; esac
}

# check_certificate SETTING KEY_SETTING NAME...: what nginx or browsers would
# say later, less clearly.
check_certificate() {
    local cert=${!1} key=${!2} setting=$1 key_setting=$2 name
    shift 2
    [ -r "$cert" ] || die "$setting: cannot read $cert"
    [ -r "$key" ] || die "$key_setting: cannot read $key"
    openssl x509 -in "$cert" -noout 2> /dev/null || die "$setting: $cert is no PEM certificate (first yours, then its issuers')"
    openssl pkey -in "$key" -passin pass: -noout 2> /dev/null || die "$key_setting: $key is no PEM key without a password"
    [ "$(openssl x509 -in "$cert" -noout -pubkey)" = "$(openssl pkey -in "$key" -passin pass: -pubout)" ] ||
        die "$key_setting: $key does not belong to $cert"
    openssl x509 -in "$cert" -noout -checkend 0 > /dev/null || die "$setting: $cert ended on $(openssl x509 -in "$cert" -noout -enddate | cut -d= -f2)"
    openssl x509 -in "$cert" -noout -checkend 1209600 > /dev/null ||
        echo "$setting: $cert ends on $(openssl x509 -in "$cert" -noout -enddate | cut -d= -f2): renew it, then ./build.sh reload"
    for name in "$@"; do
        openssl x509 -in "$cert" -noout -checkhost "$name" | grep -q 'does match' ||
            die "$setting: $cert is not for $name; it is for $(openssl x509 -in "$cert" -noout -ext subjectAltName 2> /dev/null | sed -n 's/^ *DNS:/DNS:/p')"
    done
}

check_certificates() {
    tls_on || return 0
    check_certificate GITPOD_TLS_CERTIFICATE GITPOD_TLS_KEY "$GITPOD_DOMAIN" "api.$GITPOD_DOMAIN"
    check_certificate GITPOD_TLS_WORKSPACE_CERTIFICATE GITPOD_TLS_WORKSPACE_KEY "$WORKSPACE_EXAMPLE"
}
