#!/usr/bin/perl
# See bench/hop.sh.
use strict;
use warnings;
use POSIX qw(sysconf _SC_CLK_TCK);
use FindBin;
use lib $FindBin::Bin;
use GitpodGateway;
use HopRivals;

use constant BAR => 1.2;    # x CPU of plain nginx

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
            $plain =~ s/\n *# a program with TLS of its own.*//s or die 'the template changed';
            my $proxy = GitpodGateway::slurp("$GitpodGateway::TOP/conf/nginx/nginx_proxy.conf.in") =~ s/^.*\$gitpod_debug_port;\n//mr;
            $plain =~ s/^ *include \@RUN\@\/conf\/nginx_proxy\.conf;\n/$proxy/m or die 'the template changed';
            $plain =~ s/^ *\@GRPC_PORT_LISTEN\@\n//m;
            my ($port) = $text =~ /listen (\d+) default_server/;
            my ($log) = $text =~ /access_log (\S+) gitpod/;
            $plain =~ s/^\s*(?:gitpod_|include ).*\n//mg;
            $plain =~ s/\@WORKSPACE_LISTEN\@/$port/g;
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
    server { listen $address:23002; keepalive_requests 1000000000; location / { return 204; } }
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

my @missing;
my @all = (
    { name => 'plain nginx', host => 'plain.test', port => $g->{port}, pids => [$worker], token => $cookie },
    { name => 'the gateway', host => $host, port => $g->{port}, pids => [$worker], token => $cookie },
    map { { host => 'rival.test', %$_, token => "gp_workspace=$_->{token}" } } HopRivals::start($g, $address, $cookie =~ s/^gp_workspace=//r, \@missing));

sub cpu_s {
    my $sum = 0;
    for my $pid (@_) {
        # nginx' loader of a cache ends after a minute
        my $text = eval { GitpodGateway::slurp("/proc/$pid/stat") } or next;
        my @stat = split ' ', $text =~ s/^.*\) //sr;
        $sum += $stat[11] + $stat[12];
    }
    return $sum / sysconf(_SC_CLK_TCK);
}

# Processor time per request in us, requests per second.
sub load {
    my ($who) = @_;
    my @headers = map { ('-H', $_) } "Host: $who->{host}", "Cookie: theme=dark; $who->{token}", 'Accept: */*', 'Accept-Language: en',
        'Accept-Encoding: gzip, deflate', 'User-Agent: Mozilla/5.0 (X11; Linux x86_64) Chrome/120', 'Sec-Fetch-Mode: cors', 'Sec-Fetch-Site: same-origin';
    my $before = cpu_s(@{ $who->{pids} });
    open my $wrk, '-|', 'wrk', '-t1', '-c32', "-d${seconds}s", @headers, "http://127.0.0.1:$who->{port}/stable/static/out/file.js" or die "wrk: $!";
    my $text = join '', <$wrk>;
    close $wrk;
    my ($n) = $text =~ /(\d+) requests in/ or die "wrk said: $text";
    die "not all were answered: $text" if $text =~ /Non-2xx|Socket errors/;
    my ($per_s) = $text =~ m{Requests/sec:\s+([\d.]+)};
    return (1e6 * (cpu_s(@{ $who->{pids} }) - $before) / $n, $per_s);
}

sub median { my @sorted = sort { $a <=> $b } @_; return $sorted[@sorted / 2] }

load($_) for @all;
my @ratio;
for my $round (1 .. $rounds) {
    for my $who ($round % 2 ? @all : reverse @all) {
        my ($us, $per_s) = load($who);
        push @{ $who->{cpu} }, $us;
        push @{ $who->{rate} }, $per_s;
    }
    push @ratio, $all[1]{cpu}[-1] / $all[0]{cpu}[-1];
    printf "round %d: %s (us of CPU per request)\n", $round, join ', ', map { sprintf '%s %.1f', $_->{name}, $_->{cpu}[-1] } @all;
}

print "\nmedian of $rounds rounds, the worker's own CPU; who is asked for a verdict is not counted\n";
for my $who (@all) {
    $who->{us} = median(@{ $who->{cpu} });
    printf "%-28s %6.1f us CPU per request  %5.2f x plain nginx  %6.0f requests/s\n", $who->{name}, $who->{us}, $who->{us} / $all[0]{us}, median(@{ $who->{rate} });
}
print "not installed, not compared: @missing\n" if @missing;

my $ratio = median(@ratio);
printf "\nhop: bar <= %.1f x CPU of plain nginx, figure %.2f x: %s\n", BAR, $ratio, $ratio <= BAR ? 'pass' : 'falls short';
my ($next) = sort { $a->{us} <=> $b->{us} } @all[2 .. $#all];
my $cheapest = @missing == 0 && $all[1]{us} < $next->{us};
printf "hop: bar: cheapest of all that check, figure %.1f us against %.1f us of %s: %s\n", $all[1]{us}, $next->{us}, $next->{name}, $cheapest ? 'pass' : 'falls short'
    if $next;
exit 1 if $ratio > BAR || !$cheapest;
