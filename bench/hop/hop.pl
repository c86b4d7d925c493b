#!/usr/bin/perl
# See bench/hop.sh.
use strict;
use warnings;
use POSIX qw(sysconf _SC_CLK_TCK);
use GitpodGateway;

use constant BAR => 1.3;    # x CPU of plain nginx

my $rounds = $ENV{ROUNDS} // 7;
my $seconds = $ENV{DURATION} // 3;
my $id = 'amber-fox-k3j9x2m1';
my $address = GitpodGateway::free_address();

# The workspace server again, without anything of ours: a plain upstream, and
# the log with stock variables in the place of $gitpod_*.
my ($workspace, $format);
my $g = GitpodGateway->new(
    buffered_log => 1,
    level => 'warn',
    edit => sub {
        my ($name, $text) = @_;
        if ($name eq 'nginx.conf') {
            ($format) = $text =~ /log_format gitpod escape=json(.*?);/s;
            $format =~ s/\$gitpod_request_id/\$request_id/;
            $format =~ s/\$gitpod_uri/\$request_uri/;
            $format =~ s/\$gitpod_\w+//g;
            my $plain = GitpodGateway::slurp("$GitpodGateway::TOP/conf/nginx/nginx_workspace.conf.in");
            $plain =~ s/\n *# the gateway's own question.*//s or die 'the template changed';
            my ($port) = $text =~ /listen (\d+) default_server/;
            my ($log) = $text =~ /access_log (\S+) gitpod/;
            $plain =~ s/^\s*(?:gitpod_|include ).*\n//mg;
            $plain =~ s/\@PORT\@/$port/g;
            $plain =~ s/server_name .*/server_name plain.test;\n    access_log $log plain buffer=64k flush=1s;/;
            $plain =~ s/http:\/\/gitpod_workspace;/http:\/\/plain;/;
            $plain =~ s/\$gitpod_scheme/\$scheme/;
            $plain =~ s/\s*#[^\n]*$//mg;
            $text =~ s/\}\s*$/log_format plain escape=json$format;\nupstream plain { server $address:23000; keepalive 128; keepalive_timeout 60s; }\n$plain}\n}\n/;
        }
        return $text;
    });

# the workspace: another nginx, so that it is never what is waited for
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
$g->route($id, address => $address);
my $host = $g->host($id);
my $cookie = 'gp_workspace=' . $g->workspace_token(host => $host, ws => $id);
my $last;
eval { GitpodGateway::wait_for('the route', sub { $last = $g->get($host, '/', Cookie => $cookie); $last->{status} == 200 }); 1 } or die "gateway: $last->{status} $last->{body}\n" . $g->error_log;
my $plain = $g->get('plain.test', '/');
die "plain: $plain->{status} $plain->{body}\n" . $g->error_log if $plain->{status} != 200;
my ($worker) = $g->worker_pids;
die "no worker" if !$worker;

sub cpu_s {
    my @stat = split ' ', GitpodGateway::slurp("/proc/$worker/stat") =~ s/^.*\) //sr;
    return ($stat[11] + $stat[12]) / sysconf(_SC_CLK_TCK);
}

sub load {
    my ($name) = @_;
    my @headers = map { ('-H', $_) } "Host: $name", "Cookie: theme=dark; $cookie", 'Accept: */*', 'Accept-Language: en',
        'Accept-Encoding: gzip, deflate', 'User-Agent: Mozilla/5.0 (X11; Linux x86_64) Chrome/120', 'Sec-Fetch-Mode: cors', 'Sec-Fetch-Site: same-origin';
    my $before = cpu_s();
    open my $wrk, '-|', 'wrk', '-t1', '-c32', "-d${seconds}s", @headers, "http://127.0.0.1:$g->{port}/stable/static/out/file.js" or die "wrk: $!";
    my $text = join '', <$wrk>;
    close $wrk;
    my ($n) = $text =~ /(\d+) requests in/ or die "wrk said: $text";
    die "not all were answered: $text" if $text =~ /Non-2xx|Socket errors/;
    my ($per_s) = $text =~ m{Requests/sec:\s+([\d.]+)};
    return (1e6 * (cpu_s() - $before) / $n, $per_s);
}

sub median { my @sorted = sort { $a <=> $b } @_; return $sorted[@sorted / 2] }

my %cpu = (gateway => [], plain => []);
my %rate = (gateway => [], plain => []);
my @ratio;
load($_) for 'plain.test', $host;
for my $round (1 .. $rounds) {
    my @order = $round % 2 ? qw(plain gateway) : qw(gateway plain);
    for my $which (@order) {
        my ($us, $per_s) = load($which eq 'plain' ? 'plain.test' : $host);
        push @{ $cpu{$which} }, $us;
        push @{ $rate{$which} }, $per_s;
    }
    push @ratio, $cpu{gateway}[-1] / $cpu{plain}[-1];
    printf "round %d: plain %.1f us, gateway %.1f us CPU per request: %.2f x\n", $round, $cpu{plain}[-1], $cpu{gateway}[-1], $ratio[-1];
}
my $ratio = median(@ratio);
printf "plain nginx:  %.1f us CPU per request, %.0f requests/s\n", median(@{ $cpu{plain} }), median(@{ $rate{plain} });
printf "the gateway:  %.1f us CPU per request, %.0f requests/s\n", median(@{ $cpu{gateway} }), median(@{ $rate{gateway} });
printf "hop: bar <= %.1f x CPU of plain nginx, figure %.2f x (median of %d rounds): %s\n", BAR, $ratio, scalar @ratio, $ratio <= BAR ? 'pass' : 'falls short';
