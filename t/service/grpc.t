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
my $requests;
my $g = GitpodGateway->new(grpc => 1, tls => 1, limits => 1, edit => sub {
    my ($name, $text) = @_;
    $text =~ s{rate=200/60s}{rate=30000/60s};
    $text =~ s{keepalive_requests \d+}{keepalive_requests $requests} if $requests;
    return $text;
});
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

local @ENV{qw(GP_TARGET GP_TLS GP_CA GP_API GP_TOKEN GP_USER GP_PROTO GP_CLIENTS)} =
    ("127.0.0.1:$g->{grpc_port}", "127.0.0.1:$g->{port}", $g->{ca}{cert}, "api.$g->{domain}", $token, $g->{owner}, "$GitpodGateway::TOP/proto", "$cache/clients");
my $node = -x "$cache/node/bin/node" ? "$cache/node/bin/node" : 'node';
my $child = open2(my $from, my $to, 'timeout', '-k', '5', '150', $node, "$FindBin::Bin/grpc.mjs");
my %do = (
    metric => \&metric,
    kill => \&kill_echo,
    start => sub { start_echo(); 'started' },
    log => sub { my ($uri, $lines) = split / /, $_[0]; my @line = grep { $_->{uri} eq $uri } $g->access_log; return scalar @line if $lines; @line ? "$line[-1]{status} $line[-1]{grpc_status}" : 'none' },
);
$do{requests} = sub { ($requests) = @_; $g->reload(keep => 1); return $requests };
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
cmp_ok($n, '==', 87, 'and made its assertions');

# HTTP/1.1, on the API host and on D
my $get = '/gitpod.v1.WorkspaceService/GetWorkspace';
sub http1 {
    my ($host, $path, $type, $body) = @_;
    GitpodGateway::spew("$g->{dir}/body", $body);
    open my $curl, '-|', 'curl', '-s', '-i', '--http1.1', '-m', 10, '--cacert', $g->{ca}{cert}, '--resolve', "$host:$g->{port}:127.0.0.1",
        '-H', "Authorization: Bearer $token", '-H', "Content-Type: $type", '--data-binary', "\@$g->{dir}/body", "https://$host:$g->{port}$path" or die $!;
    binmode $curl;
    local $/;
    return scalar <$curl>;
}
like(http1("api.$g->{domain}", $get, 'application/grpc-web+proto', "\0\0\0\0\7\x0a\5amber"), qr{^HTTP/1.1 200\b.*\x0a\x05amber.*\x80\0\0\0\x10grpc-status: 0\r\n\z}s, 'gRPC-web over HTTP/1.1');
like(http1($g->{domain}, "/public-api$get", 'application/grpc-web+proto', "\0\0\0\0\6\x0a\4fail"), qr/grpc-status: 5\r\ngrpc-message: workspace_id: there/, 'on D as well');
like(http1("api.$g->{domain}", $get, 'application/grpc', "\0\0\0\0\0"), qr{^HTTP/1.1 415\b.*HTTP/2}s, 'native gRPC over HTTP/1.1 hears what to do');
$g->{expected_alert} = qr/connect\(\) to unix:.*fcgi.sock failed/;
$g->finish;
