#!/usr/bin/perl
# gitpod_grpc: the last frame of a plugin's gRPC-web answer becomes trailers of HTTP/2, wherever the answer is cut;
# what is no gRPC becomes an answer of headers only. The client is curl, which says what it received.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use FastCgi;
use GitpodTest;
use IO::Socket::UNIX;
use Test::More;
use Time::HiRes qw(sleep);

my $t = GitpodTest->new(http => <<'X');
    gitpod_zone gitpod 1m;
    gitpod_check app fastcgi unix:%%DIR%%/none.sock interval=100ms fall=1;
    log_format grpc '$uri $status $gitpod_grpc_status';
    server {
        listen %%PORT%% http2;
        access_log %%DIR%%/access.log grpc;
        gitpod_grpc on;
        error_page 502 /error;
        location / {
            fastcgi_param CONTENT_TYPE $gitpod_content_type;
            fastcgi_param GITPOD_PATH $uri;
            fastcgi_buffering off;
            fastcgi_keep_conn on;
            fastcgi_pass unix:%%DIR%%/app.sock;
        }
        location /buffered/ {
            fastcgi_param CONTENT_TYPE $gitpod_content_type;
            fastcgi_param GITPOD_PATH $uri;
            fastcgi_pass unix:%%DIR%%/app.sock;
        }
        location /dead { fastcgi_pass unix:%%DIR%%/none.sock; }
        location = /file { error_page 418 =500 /json; return 418; }
        location = /json { root %%DIR%%/html; default_type application/json; }
        location = /stuck {
            fastcgi_param CONTENT_TYPE $gitpod_content_type;
            fastcgi_param GITPOD_PATH $uri;
            fastcgi_buffering off;
            fastcgi_read_timeout 300ms;
            fastcgi_pass unix:%%DIR%%/app.sock;
        }
        location = /static { error_page 418 =200 /messages; return 418; }
        location = /messages { root %%DIR%%/html; default_type application/grpc-web+proto; }
        location /off { gitpod_grpc off; fastcgi_param CONTENT_TYPE $gitpod_content_type; fastcgi_pass unix:%%DIR%%/app.sock; }
        location = /empty { return 204; }
        location /moved { return 302 /; }
        location /limited { return 429 '{"code":"resource_exhausted","message":"50 % of ünits"}'; }
        location = /health { gitpod_grpc_health; }
        location = /error { internal; return 200 '{"code":"unavailable","message":"nobody is there"}'; }
        location /long { return 403 "{\"message\":\"${arg_x}${arg_x}${arg_x}${arg_x}${arg_x}${arg_x}${arg_x}${arg_x}${arg_x}\"}"; }
    }
    server { listen unix:%%DIR%%/plain.sock; location / { gitpod_grpc on; fastcgi_param GITPOD_PATH $uri; fastcgi_param CONTENT_TYPE $gitpod_content_type; fastcgi_pass unix:%%DIR%%/app.sock; } }
X

sub frame { my ($text, $flag) = @_; return pack('CN', $flag // 0, length $text) . $text }
my $messages = frame('abc') . frame('') . frame('d' x 300);
my $end = frame("grpc-status: 5\r\ngrpc-message: not%20here\r\nx-more-bin: AAE\r\n", 0x80);
my $ok = frame("grpc-status: 0\r\n", 0x80);

# What the plugin writes: pieces, each a record and a write of its own.
my %answers = (
    '/whole' => [ $messages . $end ],
    '/bytes' => [ split //, frame('abc') . frame('') . $end ],
    '/odd' => [ unpack '(a7)*', $messages . $end ],
    '/alone' => [ $messages, $end ],
    '/refused' => [$end],
    '/after' => [ $messages . $ok . 'behind', 'and more' ],
    '/empty-trailer' => [ $messages . frame('', 0x80) ],
    '/malformed' => [ $messages . frame("Grpc Status 0\r\n", 0x80) ],
    '/half' => [ $messages . frame("grpc-status: 3\r\nnonsense\r\n", 0x80) ],
    '/huge' => [ $messages . frame("grpc-status: 0\r\nx-a: " . 'x' x 9000 . "\r\n", 0x80) ],
    '/none' => [$messages],
    '/cut' => [ $messages . substr(frame('abcdef'), 0, 8) ],
    '/buffered/whole' => [ $messages . $end ],
    '/buffered/odd' => [ unpack '(a7)*', $messages . $end ],
);

my $listener = IO::Socket::UNIX->new(Listen => 16, Local => "$t->{dir}/app.sock") or die $!;
$t->daemon('app', sub {
    $SIG{CHLD} = 'IGNORE';
    while (my $c = $listener->accept) {
        next if fork;
        my $s = bless { sock => $c, in => '' }, 'FastCgi';
        my ($params, $keep) = ('', 0);
        while (my $record = eval { $s->next_record }) {
            my ($type, $id, $content) = @$record;
            $keep = unpack 'x2C', $content if $type == 1;
            $params .= $content if $type == 4;
            next if $type != 5 || length $content;
            my ($path) = $params =~ /GITPOD_PATH([\w\/-]+?)(?=[^\w\/-]|\z)/;
            my ($kind) = $params =~ /CONTENT_TYPE([\w\/+-]+)/;
            $path //= '/whole';
            my $out = sub { $s->send_raw(FastCgi::record(6, $id, $_[0])) };
            if ($path eq '/plain') { $out->("Status: 415\r\nContent-Type: application/json\r\n\r\n{\"message\":\"send something else\"}") }
            elsif ($path eq '/kind') { $out->("Content-Type: application/grpc-web+proto\r\n\r\n" . frame($kind) . $ok) }
            elsif ($path eq '/stuck') { $out->("Content-Type: application/grpc-web+proto\r\n\r\n$messages"); $s->next_record }
            else {
                $out->("Content-Type: application/grpc-web+proto\r\nX-Kind: $kind\r\n\r\n");
                for my $piece (@{ $answers{$path} // [] }) { $out->($piece); sleep 0.002 if length $piece < 8 }
            }
            $s->send_raw(FastCgi::record(3, $id, pack 'NCx3', 0, 0));
            $params = '';
            last if !$keep;
        }
        POSIX::_exit(0);
    }
});
GitpodTest::spew("$t->{dir}/html/messages", $messages . $end);
GitpodTest::spew("$t->{dir}/html/json", '{"message":"from a file"}');
$t->start;

# (No body unless it matters: curl 7.88 takes an answer that comes before its body is out for an error.)
# Headers, then trailers, as curl dumps them; body; whether there were two blocks.
sub call {
    my ($path, %option) = @_;
    my $type = $option{type} // 'application/grpc+proto';
    GitpodTest::spew("$t->{dir}/request", $option{body} // '');
    my @more = ('--http2-prior-knowledge', '--data-binary', "\@$t->{dir}/request", '-H', "content-type: $type", '-H', 'te: trailers');
    @more = @{ $option{curl} } if $option{curl};
    my $rc = system('curl', '-s', '-m', 10, '-D', "$t->{dir}/head", '-o', "$t->{dir}/body", @more, "http://127.0.0.1:$t->{port}$path");
    my ($head, $trailers) = split /\r\n\r\n/, GitpodTest::slurp("$t->{dir}/head"), 2;
    my %r = (rc => $rc >> 8, body => GitpodTest::slurp("$t->{dir}/body"), trailers => $trailers // '');
    unlink "$t->{dir}/body";
    ($r{http}) = ($head // '') =~ m{^HTTP/2 (\d+)};
    $r{head} = { map { /^([\w-]+): ?(.*?)\r?$/ ? (lc $1 => $2) : () } split /\n/, $head // '' };
    $r{trailer} = { map { /^([\w-]+): ?(.*?)\r?$/ ? (lc $1 => $2) : () } split /\n/, $r{trailers} };
    return \%r;
}

sub trailers_are {
    my ($path, $body, $status, $message, $what) = @_;
    my $r = call($path);
    ok($r->{rc} == 0 && $r->{http} == 200 && $r->{body} eq $body && ($r->{trailer}{'grpc-status'} // -1) == $status
        && ($r->{trailer}{'grpc-message'} // '') =~ $message && !exists $r->{head}{'grpc-status'}, $what) or diag explain $r;
    return $r;
}

my $r = trailers_are('/whole', $messages, 5, qr/^not%20here$/, 'messages in the body, the last frame in the trailers');
is($r->{trailer}{'x-more-bin'}, 'AAE', 'binary metadata too');
is($r->{head}{'content-type'}, 'application/grpc+proto', 'the content type is gRPC\'s');
is($r->{head}{'x-kind'}, 'application/grpc-web+proto', '$gitpod_content_type tells the plugin gRPC-web');
trailers_are('/bytes', frame('abc') . frame(''), 5, qr/^not%20here$/, 'an answer that comes byte by byte');
trailers_are('/odd', $messages, 5, qr/^not%20here$/, 'frames that are cut anywhere');
trailers_are('/alone', $messages, 5, qr/^not%20here$/, 'a trailer frame by itself');
trailers_are('/refused', '', 5, qr/^not%20here$/, 'nothing but a trailer frame');
trailers_are('/after', $messages, 0, qr/^$/, 'what stands behind the trailer frame is dropped');
trailers_are('/static', $messages, 5, qr/^not%20here$/, 'a body in a file');
trailers_are("/buffered/$_", $messages, 5, qr/^not%20here$/, "buffered: $_") for qw(whole odd);

# ---- answers that break the rules ----
trailers_are($_, $messages, 14, qr/broke/, "$_: an answer without a status is unavailable") for qw(/none /empty-trailer /malformed);
trailers_are('/half', $messages, 3, qr/^$/, 'a line that is none does not hide the status before it');
trailers_are('/huge', $messages, 0, qr/^$/, 'trailers over the limit are cut');
trailers_are('/stuck', $messages, 14, qr/broke/, 'an answer that stands still is given up');
$r = call('/cut');
ok($r->{rc} != 0 || $r->{trailer}{'grpc-status'} == 14, 'a message that breaks off is no success') or diag explain $r;

# ---- answers that are no gRPC: HEADERS with the end of the stream, nothing else ----
sub refused_is {
    my ($path, $status, $message, $what, %option) = @_;
    my $r = call($path, %option);
    ok($r->{rc} == 0 && $r->{http} == 200 && $r->{body} eq '' && $r->{trailers} eq '' && ($r->{head}{'grpc-status'} // -1) == $status
        && ($r->{head}{'grpc-message'} // '') =~ $message && $r->{head}{'content-type'} eq 'application/grpc' && !exists $r->{head}{'content-length'}, $what)
        or diag explain $r;
    return $r;
}
refused_is('/dead', 14, qr/^nobody is there$/, 'a plugin that is away: unavailable, with the message of error_page');
refused_is('/limited', 8, qr/^50 %25 of %C3%BCnits$/, '429 is resource_exhausted, the message percent-encoded');
refused_is('/plain', 2, qr/^send something else$/, 'JSON of a plugin');
refused_is('/file', 2, qr/^from a file$/, 'JSON of a file');
refused_is('/moved', 2, qr/^HTTP status 302$/, 'a redirect');
refused_is('/empty', 2, qr/^HTTP status 204$/, 'an empty answer');
refused_is('/long?x=' . 'y' x 1000, 7, qr/^HTTP status 403$/, 'JSON that is too long counts as none');

# ---- health: the check of this configuration never passes ----
sub health { my ($body, %option) = @_; return call('/health', body => $body, %option) }
$r = health("\0\0\0\0\0");
ok($r->{body} eq "\0\0\0\0\2\x08\2" && $r->{trailer}{'grpc-status'} == 0, 'health: not serving') or diag explain $r;
$r = health("\0\0\0\0\2\x0a\0", type => 'application/grpc-web');
ok($r->{body} eq "\0\0\0\0\2\x08\2" . frame("grpc-status: 0\r\n", 0x80), 'as gRPC-web') or diag explain $r;
for my $case ([ "\0\0\0\0\5\x0a\3abc", 5, qr/^Only the whole server/ ], [ '', 3, qr/HealthCheckRequest$/ ], [ 'x' x 300, 3, qr/^This/ ], [ 'x' x 50_000, 3, qr/^This/ ], [ "\0\0\0\0\1\x08", 3, qr/^This/ ]) {
    my ($body, $status, $message) = @$case;
    $r = health($body);
    ok($r->{http} == 200 && $r->{body} eq '' && $r->{trailer}{'grpc-status'} == $status && $r->{trailer}{'grpc-message'} =~ $message, 'health: ' . length($body) . ' bytes are ' . $status) or diag explain $r;
}
is(health('', type => 'application/json')->{http}, 415, 'health is gRPC only');
is(call('/health', curl => [ '--http2-prior-knowledge' ])->{http}, 405, 'by POST');

# ---- who is left alone ----
$r = call('/whole', type => 'application/grpc-web+proto');
ok($r->{body} eq $messages . $end && $r->{trailers} eq '' && $r->{head}{'content-type'} eq 'application/grpc-web+proto', 'gRPC-web over HTTP/2 stays what it is') or diag explain $r;
$r = call('/plain', type => 'application/grpc+thrift');
ok($r->{http} == 415 && $r->{body} =~ /something else/, 'another codec hears 415') or diag explain $r;
$r = call('/limited', type => 'application/json');
is($r->{http}, 429, 'and Connect its own status');
$r = call('/off/', type => 'application/grpc');
ok($r->{body} eq $messages . $end && $r->{head}{'x-kind'} eq 'application/grpc', 'gitpod_grpc off') or diag explain $r;
$r = call('/limited', curl => [ '-I', '--http2-prior-knowledge', '-H', 'content-type: application/grpc' ]);
ok($r->{http} == 200 && $r->{head}{'grpc-status'} == 8, 'HEAD') or diag explain $r;
my $kind = `curl -s --unix-socket $t->{dir}/plain.sock -H 'content-type: application/grpc' -d x http://x/kind | strings`;
like($kind, qr{^application/grpc$}m, 'over HTTP/1.1 there are no trailers, so nothing is turned into gRPC');
like(GitpodTest::slurp("$t->{dir}/access.log"), qr{^/whole 200 5\n.*^/limited 429 8\n}ms, '$gitpod_grpc_status, and the status of HTTP as it was');

$t->write_conf;
is($t->check_conf->{ok}, 1, 'the configuration is good');
$t->{http} =~ s/gitpod_zone.*\n.*gitpod_check.*\n//;
like($t->check_conf->{text}, qr/"gitpod_grpc_health" directive needs "gitpod_zone" before it/, 'health needs the zone');
$t->{http} =~ s/gitpod_grpc_health;//;
$t->{http} =~ s/gitpod_grpc on/gitpod_grpc yes/;
like($t->check_conf->{text}, qr/invalid value "yes" in "gitpod_grpc" directive, it must be "on" or "off"/, 'a wrong value is named');
$t->finish(allow => qr/none\.sock failed/);
