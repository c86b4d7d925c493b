# shellcheck shell=bash
# Tests, lint, bench, fuzz, install.

cmd_test() {
    local tier=${1:-all} dirs
    need_root test
    case $tier in
    quick) dirs=(t/http) ;;
    all) dirs=(t/http t/service t/system t/browser) ;;
    *) dirs=("$tier") ;;
    esac
    cmd_deps "$TOP/conf/packages-test.list"
    lock_build
    cmd_lint
    compile_all
    if [ "$tier" = all ]; then
        step 'nginx module with sanitizers' env SANITIZE=1 "$TOP/ngx_gitpod_module/build-module.sh" "$BUILD"
    fi
    exec 9>&-
    export GITPOD_CACHE BUILD TOP
    if [ "$tier" = quick ] || [ "$tier" = all ]; then
        mapfile -t units < <(find "$BUILD/c/t/unit" -maxdepth 1 -type f -executable | sort)
    else
        units=()
    fi
    prove --timer --merge -I t/lib -r "${units[@]}" "${dirs[@]}"
}

lint_style() {
    perl ngx_gitpod_module/style.pl ngx_gitpod_module
    git ls-files 'plugins/*.[ch]' 'workspace/*.[ch]' 't/*.[ch]' | xargs clang-format --dry-run -Werror
}

lint_text() {
    git ls-files 'build.sh' '*.sh' '.ci/run' | xargs shellcheck -x
    git ls-files '*.md' '*.c' '*.h' '*.proto' '*.ts' '*.tsx' '*.sh' '*.in' | xargs codespell -L 'uncommited,ser,te,ot,fo,inout,daa'
}

lint_c() {
    git ls-files 'plugins/*.c' 'workspace/*.c' |
        xargs cppcheck --quiet --error-exitcode=1 --enable=warning,portability --inline-suppr --std=c11 -I plugins/lib \
            --suppress=missingIncludeSystem --suppress=unknownMacro -j 2
}

cmd_lint() {
    step 'lint: style' lint_style
    step 'lint: rooms' perl t/lib/layers.pl
    step 'lint: shell and words' lint_text
    step 'lint: cppcheck' lint_c
}

bench_names() {
    find bench -maxdepth 1 -name '*.sh' -printf '%f\n' | sed 's/\.sh$//' | sort | tr '\n' ' '
}

cmd_bench() {
    local name=${1:-}
    if [ -z "$name" ]; then
        echo "benches: $(bench_names)"
        return
    fi
    [ -f "bench/$name.sh" ] || die "there is no bench '$name'; there are: $(bench_names)"
    shift
    export BUILD TOP GITPOD_CACHE
    bash "bench/$name.sh" "$@"
}

cmd_fuzz() {
    local seconds=${1:-60} t
    [ -f "$BUILD/fuzz/build.ninja" ] || CC=clang meson setup "$BUILD/fuzz" "$TOP" -Dfuzz=true -Db_sanitize=address,undefined -Db_lundef=false
    ninja -C "$BUILD/fuzz"
    for t in "$BUILD"/fuzz/t/fuzz/fuzz_*; do
        if [ ! -x "$t" ] || [ ! -f "$t" ]; then
            continue
        fi
        mkdir -p "$BUILD/corpus/$(basename "$t")"
        step "fuzz $(basename "$t")" "$t" -max_total_time="$seconds" -rss_limit_mb=1024 "$BUILD/corpus/$(basename "$t")"
    done
}
