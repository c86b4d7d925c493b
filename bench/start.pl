#!/usr/bin/perl
# 20 warm starts one after another, then 5 at once, on an instance of its own.
# Prints p50/p95, the split by step, and the memory of what idles.
use strict;
use warnings;
use Time::HiRes qw(time);
use JSON::PP;
use GitpodSystem;

my $n = shift // 20;
my $s = GitpodSystem->new;
my $git = $s->git_server;
$s->git_repository('acme/app', { map { ("src/file$_.c" => "int f$_(void) { return $_; }\n" x 50) } 1 .. 40 });
my $url = "$git/acme/app.git";

# One keep-alive connection, like a browser's, so that the figure is not curl's start.
use IO::Socket::INET;
sub request {
    my ($host, $path, $headers, $body) = @_;
    my $sock = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $s->{env}{GITPOD_PORT}, Timeout => 5) or return (0, '');
    my $method = defined $body ? 'POST' : 'GET';
    $body //= '';
    print $sock "$method $path HTTP/1.0\r\nHost: $host:$s->{env}{GITPOD_PORT}\r\n$headers" . ($method eq 'POST' ? "Content-Length: " . length($body) . "\r\n" : '') . "\r\n$body";
    local $/;
    my $text = <$sock> // '';
    my ($status) = $text =~ m{^HTTP/1.\d (\d+)};
    return ($status // 0, (split /\r\n\r\n/, $text, 2)[1] // '');
}

sub call {
    my ($method, $message) = @_;
    my ($status, $body) = request($s->{domain}, "/public-api/gitpod.v1.WorkspaceService/$method", 'Authorization: Bearer ' . $s->token . "\r\nContent-Type: application/json\r\n", encode_json($message));
    die "$method: $status $body\n" if $status != 200;
    return decode_json($body);
}

# A user may start 3 in 10 s, and 10 at once: waiting for that is not measured.
sub pace {
    my ($count) = @_;
    our $left //= 9;
    our $at //= time;
    my $now = time;
    $left += ($now - $at) * 0.3;
    $left = 9 if $left > 9;
    my $wait = ($count - $left) / 0.3;
    select undef, undef, undef, $wait if $wait > 0;
    $left -= $count;
    $left = 0 if $wait > 0;
    $at = time;
}

# Starts $count workspaces at one moment; returns the seconds until each editor answers.
sub start {
    my ($count) = @_;
    pace($count);
    my $t0 = time;
    my @ids = map { call('CreateAndStartWorkspace', { contextUrl => { url => $url } })->{workspace}{id} } 1 .. $count;
    my %owner = map { $_ => call('GetWorkspaceOwnerToken', { workspaceId => $_ })->{ownerToken} } @ids;
    my %took;
    while (keys %took < $count) {
        die "not ready after 60 s\n" if time - $t0 > 60;
        for my $id (grep { !$took{$_} } @ids) {
            my ($status) = request("$id.$s->{workspace_domain}", '/healthz', "x-gitpod-owner-token: $owner{$id}\r\n");
            $took{$id} = time - $t0 if $status == 200;
        }
        select undef, undef, undef, 0.005;
    }
    return ([ values %took ], \@ids);
}

sub remove {
    my ($ids) = @_;
    call('DeleteWorkspace', { workspaceId => $_ }) for @$ids;
    $s->wait_for(60, 'removed', sub { my ($rc, $out) = $s->podman('ps', '-aq'); $out eq '' });
}

sub pct { my ($p, @v) = @_; @v = sort { $a <=> $b } @v; return $v[ int($p * (@v - 1) + 0.5) ] }
sub verdict { my ($name, $bar, $figure, $unit) = @_; printf "%-46s bar <= %-6s figure %-8.2f %s  %s\n", $name, $bar, $figure, $unit, $figure <= $bar ? 'pass' : 'FALLS SHORT' }

my (undef, $warm) = start(1);
remove($warm);
my @all;
for (1 .. $n) {
    my ($t, $ids) = start(1);
    push @all, @$t;
    remove($ids);
}
my ($five, $ids) = start(5);
remove($ids);

my %step;
my $log = "$s->{env}{GITPOD_STATE}/log/ws_manager/current";
for my $line (grep { /start finished/ } split /\n/, qx(cat $log)) {
    my ($json) = $line =~ /(\{.*\})/ or next;
    my $d = eval { decode_json($json) } or next;
    push @{ $step{$1} }, $2 while ($d->{ms} // '') =~ /(\w+)=(\d+)/g;
}
printf "warm starts: %d; p50 %.2f s, p95 %.2f s, min %.2f s, max %.2f s\n", scalar @all, pct(.5, @all), pct(.95, @all), pct(0, @all), pct(1, @all);
printf "  %-24s p50 %6.0f ms  p95 %6.0f ms\n", $_, pct(.5, @{ $step{$_} }), pct(.95, @{ $step{$_} }) for sort keys %step;
verdict('warm start, one after another, p50', 1.5, pct(.5, @all), 's');
verdict('five at once, the last one ready', 4, pct(1, @$five), 's');

my ($ours, $engine) = (0, 0);
for my $service (qw(nginx auth content ide public_api ws_manager redis engine)) {
    my $pid = $s->service_pid($service) or next;
    for my $p ($pid, split /\n/, qx(pgrep -P $pid)) {
        my ($kb) = (qx(cat /proc/$p/smaps_rollup 2>/dev/null) =~ /^Pss:\s+(\d+)/m);
        ($service eq 'engine' ? $engine : $ours) += $kb // 0;
    }
}
verdict('nginx, plugins and Redis at idle (PSS)', 64, $ours / 1024, 'MB');
printf "the engine's service, apart: %.1f MB PSS\n", $engine / 1024;
