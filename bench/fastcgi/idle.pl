#!/usr/bin/perl
# Holds idle streams of test_echo open and says what they cost:
#     idle.pl SOCKET PID STREAMS -> "<bytes of RSS each> <threads more> <handlers that heard of the close>"
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../../t/lib";
use FastCgi;
use Time::HiRes qw(sleep time);

my ($sock, $pid, $n) = @ARGV;

sub status {
    my ($name) = @_;
    open my $fh, '<', "/proc/$pid/status" or die "the service is gone\n";
    my ($value) = map { /^\Q$name\E:\s+(\d+)/ ? $1 : () } <$fh>;
    return $value;
}

sub metric {
    my ($name) = @_;
    my $res = FastCgi->call($sock, { GITPOD_PATH => '/metrics', REQUEST_METHOD => 'GET' });
    return $res->{body} =~ /^\Q$name\E (\S+)$/m ? $1 : die "no metric $name\n";
}

# What nginx sends with its stock fastcgi_params and a browser's headers.
my %param = (
    QUERY_STRING => '', REQUEST_METHOD => 'POST', CONTENT_TYPE => 'application/connect+json', CONTENT_LENGTH => 27,
    SCRIPT_NAME => '/gitpod.v1.WorkspaceService/WatchWorkspaceStatus', REQUEST_URI => '/gitpod.v1.WorkspaceService/WatchWorkspaceStatus',
    DOCUMENT_URI => '/gitpod.v1.WorkspaceService/WatchWorkspaceStatus', DOCUMENT_ROOT => '/usr/share/nginx/html',
    SERVER_PROTOCOL => 'HTTP/1.1', REQUEST_SCHEME => 'http', GATEWAY_INTERFACE => 'CGI/1.1', SERVER_SOFTWARE => 'nginx/1.22.1',
    REMOTE_ADDR => '127.0.0.1', REMOTE_PORT => 40000, SERVER_ADDR => '127.0.0.1', SERVER_PORT => 8080, SERVER_NAME => 'gitpod.localhost',
    GITPOD_PATH => '/gitpod.v1.WorkspaceService/WatchWorkspaceStatus', GITPOD_USER => '6f1c1a34-7c57-4a0b-9a0c-0f2f9a0b1c2d',
    GITPOD_CREDENTIAL => 'session', GITPOD_CREDENTIAL_ID => '6f1c1a34-7c57-4a0b-9a0c-0f2f9a0b1c2d', GITPOD_SCOPES => '*', GITPOD_CALLER => '',
    GITPOD_REQUEST_ID => '0123456789abcdef0123456789abcdef', HTTP_HOST => 'gitpod.localhost:8080', HTTP_ACCEPT => '*/*',
    HTTP_USER_AGENT => 'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36',
    HTTP_CONNECT_PROTOCOL_VERSION => 1, HTTP_ORIGIN => 'http://gitpod.localhost:8080', HTTP_COOKIE => 'gp_session=' . 'x' x 400,
);

my $open = sub {
    my $c = FastCgi->connect($sock) or die "connect: $!\n";
    $c->send_raw($c->request_bytes(\%param, pack('CN', 0, 22) . '{"workspaceId":"idle"}'));
    $c->next_record or die "no stream\n";
    return $c;
};

my @warm = map { $open->() } 1 .. 20; # what comes once is not counted
sleep 0.2;
my ($rss, $threads, $closed) = (status('VmRSS'), status('Threads'), metric('echo_closed_total'));
my @held = map { $open->() } 1 .. $n;
sleep 0.2;
my $each = (status('VmRSS') - $rss) * 1024 / $n;
my $more = status('Threads') - $threads;
$_->close for @held;
my $until = time + 5;
sleep 0.05 while metric('echo_closed_total') - $closed < $n && time < $until;
printf "%d %d %d\n", $each, $more, metric('echo_closed_total') - $closed;
