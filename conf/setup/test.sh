# shellcheck shell=bash
# Tests, lint, bench, fuzz, install.

cmd_test() {
    local tier=${1:-all} tests=()
    need_root test
    cmd_deps "$TOP/conf/packages-test.list"
    step 'clients of npm' with_cache_lock install_clients
    lock_build
    case $tier in
    quick | all)
        lint_all
        compile_all
        ;;
    *) compile_all ;;
    esac
    case $tier in
    quick) tests=("$(unit_dir c)" t/http) ;;
    all)
        step 'module and services with sanitizers' compile_sanitized
        fuzz_all 60
        # The bars for memory hold for what people get, so two tests of services run there too.
        tests=("$(unit_dir c)" "$(unit_dir san/c)" "$BUILD/san/t/http" "$BUILD/san/t/service" t/service/kit.t t/service/supervisor.t
            t/system t/browser)
        ;;
    *) tests=("$@") ;;
    esac
    exec 9>&-
    run_tests "${tests[@]}"
}

unit_dir() {
    printf '%s' "$BUILD/$1/t/unit"
}

# Compiled tests by their directory, all others as prove finds them.
run_tests() {
    local t programs=() log=$BUILD/log/test.log
    for t in "$@"; do
        case $t in
        */t/unit) mapfile -t -O "${#programs[@]}" programs < <(find "$t" -maxdepth 1 -type f -executable | sort) ;;
        *) programs+=("$t") ;;
        esac
    done
    export GITPOD_CACHE BUILD TOP
    mkdir -p "${log%/*}"
    # (Not --merge: it would keep what a test says about its failure.)
    prove --timer --jobs "$(test_jobs)" --rules 'par=**t/{service,system,browser}/*' --rules 'par=**' --exec t/lib/run.sh -r "${programs[@]}" \
        2>&1 | tee "$log" || tell_failures "$log"
}

# What failed, and why, once more where it is looked for: at the end of many
# thousand lines, of which who reads a CI's answer may have the last ones only.
FAILURE_LINES_MAX=80
tell_failures() { # log
    printf '\nWhat the failed tests said (all of it: %s):\n' "$1"
    grep -E -A 6 '^ *# +Failed test|Sanitizer|runtime error' "$1" | cut -c 1-400 | head -n "$FAILURE_LINES_MAX"
    return 1
}

# As many tests at a time as there are processors, the long ones first. Not
# more: each has deadlines of its own, and several have a machine's worth of
# services and containers.
TEST_JOBS_MAX=4
test_jobs() {
    local n
    n=$(nproc)
    printf '%s' $((n < TEST_JOBS_MAX ? n : TEST_JOBS_MAX))
}

# gcc warns wrongly about code that it instruments, so a warning is none here.
compile_sanitized() {
    SANITIZE=1 "$TOP/ngx_gitpod_module/build-module.sh" "$BUILD"
    [ -f "$BUILD/san/c/build.ninja" ] ||
        meson setup "$BUILD/san/c" "$TOP" -Db_sanitize=address,undefined -Db_lundef=false -Dwerror=false
    ninja -C "$BUILD/san/c"
    ln -sfn "$TOP/t" "$BUILD/san/t"
}

lint_style() {
    perl ngx_gitpod_module/style.pl ngx_gitpod_module
    git ls-files 'plugins/*.[ch]' 'workspace/*.[ch]' 't/*.[ch]' | xargs clang-format --dry-run -Werror
}

lint_order() {
    perl t/lib/layers.pl
    perl t/lib/parity.pl
    mandoc -Tlint -Wwarning docs/man/gitpod.8
}

# Tests in shell say so in their first line, all others are Perl.
shell_tests() {
    git ls-files '*.t' | xargs grep -l -m 1 '^#!/bin/sh$'
}

lint_scripts() {
    local f
    { git ls-files 'build.sh' '*.sh' '.ci/run' && shell_tests; } | xargs shellcheck -x
    comm -23 <(git ls-files '*.pl' '*.pm' '*.t' | sort) <(shell_tests | sort) | xargs -n 1 -P 2 perl -I t/lib -c
    git ls-files '*.py' | while read -r f; do
        python3 -c 'import sys; compile(open(sys.argv[1]).read(), sys.argv[1], "exec")' "$f"
    done
}

lint_words() {
    git ls-files '*.md' '*.c' '*.h' '*.proto' '*.ts' '*.tsx' '*.sh' '*.pl' '*.pm' '*.t' '*.py' '*.in' |
        xargs codespell -L 'uncommited,ser,te,ot,isnt,inout,daa,openin,fo'
}

# varFuncNullUB: gp_log() takes pairs of strings up to a NULL; on every system
# we build for NULL has a pointer's size, also as a variable argument.
lint_c() {
    local n=/usr/share/nginx/src/src check
    check=(cppcheck --quiet --error-exitcode=1 --enable=warning --enable=portability --inline-suppr --std=c11 -I plugins/lib -j 2
        --suppress=missingIncludeSystem --suppress=unknownMacro --suppress=varFuncNullUB)
    git ls-files 'plugins/*.c' 'workspace/*.c' | xargs "${check[@]}"
    "${check[@]}" -D__linux__ -DNGX_PTR_SIZE=8 -DNGX_HAVE_LITTLE_ENDIAN=1 -I "$n/core" -I "$n/event" -I "$n/os/unix" -I "$n/http" \
        "--suppress=*:/usr/share/nginx/*" ngx_gitpod_module/*/
}

# gcc's analyzer. Four of its checks do not follow what our functions promise
# (a result of 0 or less, a ret_ parameter set when it is 0, one owner a
# pointer is kept with) and are wrong about every place they name; cppcheck,
# and the leak checker in tests, look for the same.
lint_analyzer() {
    local off=-Wno-analyzer
    [ -f "$BUILD/analyze/build.ninja" ] ||
        meson setup "$BUILD/analyze" "$TOP" \
            -Dc_args="-fanalyzer $off-null-dereference $off-null-argument $off-malloc-leak $off-use-of-uninitialized-value"
    ninja -C "$BUILD/analyze"
}

lint_options() {
    perl t/lib/options.pl --check "$BUILD/analyze/plugins"
}

cmd_lint() {
    lock_build
    lint_all
}

lint_all() {
    step 'lint: style' lint_style
    step 'lint: rooms, directives and their docs' lint_order
    step 'lint: scripts' lint_scripts
    step 'lint: words' lint_words
    step 'lint: cppcheck' lint_c
    step 'lint: gcc -fanalyzer' lint_analyzer
    step 'lint: options and their docs' lint_options
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
    need_root "bench $name"
    step 'packages to compare with' deps_packages "$TOP/conf/packages-bench.list"
    export BUILD TOP GITPOD_CACHE
    bash "bench/$name.sh" "$@"
}

cmd_fuzz() {
    [[ ${1:-60} =~ ^[1-9][0-9]*$ ]] || die "fuzz takes the seconds for each target, not '$1'"
    lock_build
    fuzz_all "${1:-60}"
}

compile_fuzz() {
    "$TOP/ngx_gitpod_module/build-module.sh" "$BUILD" # nginx's headers need what its configure found
    [ -f "$BUILD/fuzz/build.ninja" ] ||
        CC=clang meson setup "$BUILD/fuzz" "$TOP" -Dfuzz=true -Db_sanitize=address,undefined -Db_lundef=false
    ninja -C "$BUILD/fuzz" fuzz
}

# What a target learned stays in $BUILD/corpus, what broke it in $BUILD/fuzz/found.
fuzz_one() { # target, seconds
    local name seeds=()
    name=$(basename "$1")
    mkdir -p "$BUILD/corpus/$name"
    [ ! -d "t/fuzz/corpus/$name" ] || seeds=("t/fuzz/corpus/$name")
    step "fuzz: $name, $2 s" "$1" -max_total_time="$2" -timeout=10 -rss_limit_mb=1024 -artifact_prefix="$BUILD/fuzz/found/$name-" \
        "$BUILD/corpus/$name" "${seeds[@]}"
}

# As many at a time as there are processors.
fuzz_all() { # seconds of each
    local t running=0 failed=0
    step 'fuzz targets' compile_fuzz
    mkdir -p "$BUILD/fuzz/found"
    for t in "$BUILD"/fuzz/t/fuzz/fuzz_*; do
        if [ ! -x "$t" ] || [ ! -f "$t" ]; then
            continue
        fi
        if ((running >= $(nproc))); then
            wait -n || failed=1
            running=$((running - 1))
        fi
        fuzz_one "$t" "$1" &
        running=$((running + 1))
    done
    for ((; running > 0; running--)); do
        wait -n || failed=1
    done
    [ "$failed" = 0 ] || die "a fuzz target failed (above); what broke it is in $BUILD/fuzz/found"
}
