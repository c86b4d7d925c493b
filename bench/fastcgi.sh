#!/bin/bash
# Our FastCGI responder against libfcgi, through a stock nginx: 64 keep-alive
# HTTP clients, one page of 512 bytes. Then 1,000 idle streams.
#
# Bars: throughput of ours, fastcgi_keep_conn off and on, >= 1.0 x libfcgi with
# keep-alive off (its good case: with keep-alive on it starves) in the same run,
# p99 no worse; <= 4 KB of memory a stream, no thread; a closed connection
# cancels its handler.
set -euo pipefail

TOP=$(cd "$(dirname "$(readlink -f "$0")")/.." && pwd)
BUILD=${BUILD:-$TOP/build}
ECHO=${TEST_ECHO:-$BUILD/c/t/service/test_echo}
SECONDS_EACH=${BENCH_SECONDS:-4}
ROUNDS=${BENCH_ROUNDS:-3}

[ -x "$ECHO" ] || { echo "build it first: $ECHO" >&2; exit 1; }
dir=$(mktemp -d)
pids=()
# shellcheck disable=SC2317 # the trap calls it
finish() {
    local p
    for p in "${pids[@]}"; do kill "$p" 2> /dev/null || true; done
    kill -KILL "${libfcgi_pid:-}" 2> /dev/null || true # it takes TERM for its own
    wait
    rm -rf "$dir"
}
trap finish EXIT

cc -O2 -o "$dir/libfcgi" "$TOP/bench/fastcgi/libfcgi.c" -lfcgi -lpthread
chmod 755 "$dir"
mkdir "$dir/echo" "$dir/tmp"

"$dir/libfcgi" "$dir/libfcgi.sock" &
libfcgi_pid=$!
"$ECHO" --run "$dir" 2> "$dir/echo.log" &
echo_pid=$!
pids+=("$echo_pid")

port=$(perl -MIO::Socket::INET -e 'print IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1")->sockport')
cat > "$dir/nginx.conf" << X
user $(id -un);
worker_processes 2;
pid $dir/nginx.pid;
error_log $dir/error.log warn;
daemon off;
events { worker_connections 4096; }
http {
    access_log off;
    client_body_temp_path $dir/tmp; fastcgi_temp_path $dir/tmp; proxy_temp_path $dir/tmp; uwsgi_temp_path $dir/tmp; scgi_temp_path $dir/tmp;
    keepalive_requests 1000000;
    upstream ours_kept { server unix:$dir/echo/fcgi.sock; keepalive 64; keepalive_requests 1000000; }
    server {
        listen 127.0.0.1:$port;
        include /etc/nginx/fastcgi_params;
        fastcgi_param GITPOD_PATH /page;
        location /libfcgi { fastcgi_pass unix:$dir/libfcgi.sock; }
        location /off { fastcgi_pass unix:$dir/echo/fcgi.sock; }
        location /on { fastcgi_pass ours_kept; fastcgi_keep_conn on; }
    }
}
X
nginx -e "$dir/error.log" -c "$dir/nginx.conf" &
pids+=($!)
for _ in $(seq 100); do
    curl -sf -o /dev/null "http://127.0.0.1:$port/off" && curl -sf -o /dev/null "http://127.0.0.1:$port/libfcgi" && break
    sleep 0.05
done

# "<requests/s> <p99 in us>"; errors end the bench
measure() {
    wrk -t 2 -c 64 -d "${SECONDS_EACH}s" --latency "http://127.0.0.1:$port/$1" > "$dir/wrk.out"
    if grep -qE 'Non-2xx|Socket errors' "$dir/wrk.out"; then
        cat "$dir/wrk.out" >&2
        return 1
    fi
    awk '/^ *99%/ { v = $2; f = 1; if (v ~ /ms$/) f = 1000; else if (v ~ /[0-9]s$/) f = 1000000; p = v * f } /^Requests\/sec/ { r = $2 }
        END { printf "%d %d\n", r, p }' "$dir/wrk.out"
}

for round in $(seq 0 "$ROUNDS"); do
    for what in libfcgi off on; do
        if [ "$round" = 0 ]; then # warm
            SECONDS_EACH=1 measure "$what" > /dev/null
        else
            measure "$what" >> "$dir/$what.txt"
        fi
    done
done

median() { sort -n -k "$2" "$dir/$1.txt" | awk -v c="$2" '{ v[NR] = $c } END { print v[int((NR + 1) / 2)] }'; }

failed=0
verdict() { # text, figure, bar, whether it holds
    local word=pass
    if [ "$4" != 1 ]; then
        word='falls short'
        failed=1
    fi
    printf '%-58s %14s  bar %-14s %s\n' "$1" "$2" "$3" "$word"
}

base=$(median libfcgi 1)
base_p99=$(median libfcgi 2)
echo "libfcgi, 8 threads, keep-alive off: $base requests/s, p99 $base_p99 us (median of $ROUNDS x $SECONDS_EACH s)"
for what in off on; do
    rate=$(median "$what" 1)
    p99=$(median "$what" 2)
    verdict "ours, fastcgi_keep_conn $what: requests/s" "$rate" ">= $base" "$((rate >= base))"
    verdict "ours, fastcgi_keep_conn $what: p99 in us" "$p99" "<= $base_p99" "$((p99 <= base_p99))"
done

read -r each threads closed < <(perl "$TOP/bench/fastcgi/idle.pl" "$dir/echo/fcgi.sock" "$echo_pid" 1000)
verdict '1,000 idle streams: bytes of memory each' "$each" '<= 4096' "$((each <= 4096))"
verdict '1,000 idle streams: threads more' "$threads" '0' "$((threads == 0))"
verdict '1,000 closed connections: handlers cancelled' "$closed" '1000' "$((closed == 1000))"
exit "$failed"
