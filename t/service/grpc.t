#!/usr/bin/perl
# The API as gRPC: @grpc/grpc-js against the gateway of conf/nginx and a service of the kit (t/service/grpc.mjs says what).
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use FastCgi;
use GitpodGateway;
use IPC::Open2;
use Test::More;

my $cache = $ENV{GITPOD_CACHE} // '/var/cache/gitpod';
-d "$cache/clients/node_modules/\@grpc/grpc-js" or BAIL_OUT("no $cache/clients: ./build.sh test fetches it");
my $echo = ($ENV{BUILD} // "$GitpodGateway::TOP/build") . '/c/t/service/test_echo';
-x $echo or BAIL_OUT("build it first: $echo");

# The limit of calls is not what is tested here, but for that of starts.
my $g = GitpodGateway->new(grpc => 1, edit => sub { my ($name, $text) = @_; $text =~ s{rate=200/60s}{rate=9000/60s}; return $text });
my $socket = "$g->{run}/public_api/fcgi.sock";
my $pid;

sub start_echo {
    $pid = $g->child('echo.log', sub { exec $echo, '--run', $g->{run}, '--listen', $socket or die "$echo: $!" });
    GitpodGateway::wait_for('the service', sub { FastCgi->connect($socket) });
}

sub kill_echo { kill 'KILL', $pid; waitpid $pid, 0; return 'killed' }

sub metric {
    my ($name) = @_;
    my ($value) = FastCgi->call($socket, { GITPOD_PATH => '/metrics', REQUEST_METHOD => 'GET' })->{body} =~ /^\Q$name\E (\S+)$/m;
    return $value;
}

$g->stop_service('public_api');
start_echo();
my $token = 'gitpod_pat_' . 'g' x 40;
$g->put_token($token);

local @ENV{qw(GP_TARGET GP_API GP_TOKEN GP_USER GP_PROTO GP_CLIENTS)} =
    ("127.0.0.1:$g->{grpc_port}", "http://127.0.0.1:$g->{port}", $token, $g->{owner}, "$GitpodGateway::TOP/proto", "$cache/clients");
my $node = -x "$cache/node/bin/node" ? "$cache/node/bin/node" : 'node';
my $child = open2(my $from, my $to, 'timeout', '-k', '5', '60', $node, "$FindBin::Bin/grpc.mjs");
my %do = (
    metric => \&metric,
    kill => \&kill_echo,
    start => sub { start_echo(); 'started' },
    log => sub { my ($uri) = @_; my @line = grep { $_->{uri} eq $uri } $g->access_log; @line ? "$line[-1]{status} $line[-1]{grpc_status}" : 'none' },
);
my $n = 0;
while (my $line = <$from>) {
    if ($line =~ /^(not )?ok - (.*)/) {
        $n++;
        ok(!$1, $2);
    } elsif ($line =~ /^ask (\w+) ?(.*)/) {
        print $to $do{$1}->($2), "\n";
        $to->flush;
    } else {
        chomp $line;
        diag($line);
    }
}
waitpid $child, 0;
is($? >> 8, 0, 'the client ran to its end');
cmp_ok($n, '==', 50, 'and made its assertions');

# HTTP/1.1, on the API host
my @as = (Authorization => "Bearer $token", 'Content-Type');
my $get = '/gitpod.v1.WorkspaceService/GetWorkspace';
my $r = $g->request("api.$g->{domain}", 'POST', $get, [ @as => 'application/grpc-web+proto', 'X-Grpc-Web' => 1 ], "\0\0\0\0\7\x0a\5amber");
ok($r->{status} == 200 && $r->{body} =~ /\x0a\x05amber/ && $r->{body} =~ /\x80\0\0\0\x10grpc-status: 0\r\n\z/, 'gRPC-web over HTTP/1.1') or diag explain $r;
$r = $g->request($g->{domain}, 'POST', "/public-api$get", [ @as => 'application/grpc-web+proto' ], "\0\0\0\0\6\x0a\4fail");
like($r->{body}, qr/grpc-status: 5\r\ngrpc-message: workspace_id: there/, 'on D as well');
$r = $g->request("api.$g->{domain}", 'POST', $get, [ @as => 'application/grpc' ], "\0\0\0\0\0");
ok($r->{status} == 415 && $r->{json}{message} =~ m{HTTP/2}, 'native gRPC over HTTP/1.1 hears what to do') or diag explain $r;
$g->{expected_alert} = qr/connect\(\) to unix:.*fcgi.sock failed/;
$g->finish;
