# shellcheck shell=bash
# Completion of ./build.sh, which is gitpod on an installed host.

_gitpod() {
    local word=${COMP_WORDS[COMP_CWORD]} top names=
    COMPREPLY=()
    if [ "$COMP_CWORD" = 1 ]; then
        names='up down status drain reload login-link token rotate-keys flag deps build test lint bench fuzz install configure clean help'
    else
        top=$(dirname "$(readlink -f "$(command -v "${COMP_WORDS[0]}")")")
        case ${COMP_WORDS[1]} in
        test) names="quick all $(cd "$top" 2> /dev/null && compgen -G 't/*/*.t')" ;;
        drain) names='1 2' ;;
        flag) [ "$COMP_CWORD" != 2 ] || names='list set delete' ;;
        bench) names=$(cd "$top" 2> /dev/null && compgen -G 'bench/*.sh' | sed 's|^bench/||; s|\.sh$||') ;;
        esac
    fi
    mapfile -t COMPREPLY < <(compgen -W "$names" -- "$word")
}

complete -F _gitpod gitpod ./build.sh build.sh
