#!/usr/bin/perl
# See bench/hop-miss.sh.
use strict;
use warnings;
use POSIX qw(sysconf _SC_CLK_TCK);
use GitpodGateway;

use constant BAR => 15;          # us beyond plain nginx and OpenSSL's verification
use constant TOKENS_N => 20_000; # a worker remembers 1,024

my $tool = $ARGV[0] // die "run bench/hop-miss.sh\n";
my $rounds = $ENV{ROUNDS} // 5;
my $seconds = $ENV{DURATION} // 3;
my $id = 'amber-fox-k3j9x2m1';
my $address = GitpodGateway::free_address();

# a second server beside the workspaces': nginx with nothing of ours
my $g = GitpodGateway->new(
    buffered_log => 1,
    level => 'warn',
    edit => sub {
        my ($name, $text) = @_;
        return $text if $name ne 'nginx.conf';
        my ($port) = $text =~ /listen (\d+) default_server/ or die 'the template changed';
        $text =~ s/\}\s*$/
    upstream plain { server $address:23000; keepalive 128; keepalive_timeout 60s; }
    server {
        listen $port;
        server_name plain.test;
        location \/ {
            proxy_pass http:\/\/plain;
            proxy_http_version 1.1;
            proxy_buffering off;
            proxy_set_header Host \$http_host;
            proxy_set_header Connection "";
        }
    }
}
/;
        return $text;
    });
GitpodGateway::spew("$g->{dir}/backend.conf", <<"END");
worker_processes 1;
pid $g->{dir}/backend.pid;
error_log stderr;
events { worker_connections 1024; }
http {
    access_log off;
    client_body_temp_path $g->{dir}/b1; proxy_temp_path $g->{dir}/b2; fastcgi_temp_path $g->{dir}/b3; uwsgi_temp_path $g->{dir}/b4; scgi_temp_path $g->{dir}/b5;
    server { listen $address:23000; keepalive_requests 1000000000; location / { default_type text/plain; return 200 "hello from a workspace\\n"; } }
}
END
$g->child('backend.log', sub { exec '/usr/sbin/nginx', '-e', 'stderr', '-c', "$g->{dir}/backend.conf", '-g', 'daemon off;' });
my $host = $g->route($id, address => $address);

open my $make, '-|', "$tool/tokens", 'make', $g->{domain}, $host, $id, $g->{owner}, TOKENS_N or die "tokens: $!";
chomp(my ($set, @tokens) = <$make>);
close $make or die 'tokens';
GitpodGateway::spew("$tool/list", join "\n", @tokens, '');
$g->redis('SET', 'gitpod:keys', $set);
$g->redis('PUBLISH', 'gitpod:keys:changes', $set);
GitpodGateway::spew("$tool/miss.lua", <<"END");
local tokens = {}
for line in io.lines("$tool/list") do tokens[#tokens + 1] = line end
local at = 0
function request()
    at = at % #tokens + 1
    return wrk.format("GET", "/stable/static/out/file.js", { ["Host"] = wrk.headers["Host"], ["Cookie"] = "theme=dark; gp_workspace=" .. tokens[at], ["Accept"] = "*/*" })
end
END
my $last;
eval { GitpodGateway::wait_for('the route and the key', sub { $last = $g->get($host, '/', Cookie => "gp_workspace=$tokens[0]"); $last->{status} == 200 }); 1 }
    or die "gateway: $last->{status} $last->{body}\n" . $g->error_log;
my ($worker) = $g->worker_pids;

sub cpu_s {
    my @stat = split ' ', GitpodGateway::slurp("/proc/$worker/stat") =~ s/^.*\) //sr;
    return ($stat[11] + $stat[12]) / sysconf(_SC_CLK_TCK);
}

# Processor time per request in us.
sub load {
    my ($name) = @_;
    my $before = cpu_s();
    open my $wrk, '-|', 'wrk', '-t1', '-c16', "-d${seconds}s", '-s', "$tool/miss.lua", '-H', "Host: $name", "http://127.0.0.1:$g->{port}/" or die "wrk: $!";
    my $text = join '', <$wrk>;
    close $wrk;
    my ($n) = $text =~ /(\d+) requests in/ or die "wrk said: $text";
    die "not all were answered: $text" if $text =~ /Non-2xx|Socket errors/;
    return 1e6 * (cpu_s() - $before) / $n;
}

sub median { my @sorted = sort { $a <=> $b } @_; return $sorted[@sorted / 2] }

load($_) for 'plain.test', $host;
my (@plain, @miss, @verify, @more);
for my $round (1 .. $rounds) {
    for my $which ($round % 2 ? (0, 1, 2) : (2, 1, 0)) {
        push @plain, load('plain.test') if $which == 0;
        push @miss, load($host) if $which == 1;
        push @verify, 0 + `'$tool/tokens' verify 5000` if $which == 2;
    }
    push @more, $miss[-1] - $plain[-1] - $verify[-1];
    printf "round %d: plain nginx %.1f, OpenSSL's verification %.1f, the gateway %.1f: %.1f us more\n", $round, $plain[-1], $verify[-1], $miss[-1], $more[-1];
}
my $figure = median(@more);
printf "plain nginx %.1f us, OpenSSL's verification %.1f us, a request with an unknown token %.1f us\n", median(@plain), median(@verify), median(@miss);
printf "hop-miss: bar <= %d us beyond plain nginx and the verification, figure %.1f us (median of %d rounds): %s\n", BAR, $figure, scalar @more,
    $figure <= BAR ? 'pass' : 'falls short';
$g->{stopped} = 0;
exit($figure <= BAR ? 0 : 1);
