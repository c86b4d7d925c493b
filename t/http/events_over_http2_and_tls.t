# Events over HTTP/2 and over TLS: several streams on one connection, flow
# control, a stream that is given up, the end of a right.
use strict;
use warnings;
use IPC::Open2;
use IO::Select;
use Test::More;
use Time::HiRes ();
use GitpodGateway;
use GitpodEvents;

my $port = GitpodGateway::free_port();
my $g = GitpodGateway->new(workers => 1, edit => sub {
    my ($name, $text) = @_;
    $text =~ s/gitpod_events on;/gitpod_events on heartbeat=1s;/ if $name eq 'nginx_domain.conf';
    $text =~ s{^(\s+listen \d+;)}{$1\n    listen $port ssl http2;\n    ssl_certificate ../tls.pem;\n    ssl_certificate_key ../tls.key;}m if $name eq 'nginx_domain.conf';
    $text =~ s/gitpod_zone (\S+) (\S+);/gitpod_zone $1 $2 events=64k;/ if $name eq 'nginx.conf';
    return $text;
}, start => 0);
system("openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=gitpod.test -keyout '$g->{run}/tls.key' -out '$g->{run}/tls.pem' 2>/dev/null") == 0 or die 'openssl';
$g->start;
GitpodGateway::wait_for('the events of Redis', sub { $g->metric('gitpod_events_synced') });
$SIG{PIPE} = 'IGNORE';
my $n = 0;
sub publish { my ($length) = @_; return GitpodEvents::publish($g, $g->{owner}, { n => ++$n, filler => 'x' x ($length // 0) }) }

# A client of commands: open NAME WINDOW COOKIE, close NAME, http1 NAME COOKIE. It
# prints "NAME status|event|end ...".
my $script = <<'X';
const http2 = require('http2'), https = require('https');
const url = process.argv[2], host = process.argv[3], ca = { rejectUnauthorized: false, servername: host };
let session;
const streams = {};
function read(name, s) {
    let text = '';
    s.setEncoding('utf8');
    s.on('data', (d) => {
        text += d;
        for (let i; (i = text.indexOf('\n\n')) >= 0; text = text.slice(i + 2)) {
            const field = Object.fromEntries(text.slice(0, i).split('\n').map((l) => [l.split(':')[0], l.slice(l.indexOf(':') + 1).trim()]));
            if (field.data) console.log(name, 'event', field.event, JSON.parse(field.data).n ?? JSON.parse(field.data).reason);
            else if (field.id) console.log(name, 'id', field.id);
        }
    });
    s.on('end', () => console.log(name, 'end'));
    s.on('error', (e) => console.log(name, 'end', e.code));
}
require('readline').createInterface({ input: process.stdin }).on('line', (line) => {
    const [what, name, a, cookie] = line.split(' ');
    if (what === 'open') {
        if (!session) {
            session = http2.connect(url, { ...ca, settings: { initialWindowSize: Number(a) } });
            session.on('error', (e) => console.log('session', e.code));
        }
        const s = streams[name] = session.request({ ':path': '/api/events', ':authority': host, cookie });
        s.on('response', (h) => console.log(name, 'status', h[':status']));
        read(name, s);
    } else if (what === 'http1') {
        https.get(url + '/api/events', { ...ca, headers: { host, cookie: a } }, (s) => { console.log(name, 'status', s.statusCode); read(name, s); })
            .on('error', (e) => console.log(name, 'error', e.code));
    } else streams[name][what]();
});
X
GitpodGateway::spew("$g->{dir}/client.js", $script);
my $pid = open2(my $out, my $in, 'node', "$g->{dir}/client.js", "https://127.0.0.1:$port", $g->{domain});
push @{ $g->{children} }, $pid;
my @lines;
my $buffer = '';

sub order { my ($line) = @_; print $in "$line\n"; $in->flush }

# The next line of this stream; what it said goes with it.
sub said {
    my ($name, $pattern) = @_;
    my $end = Time::HiRes::time() + 10;
    while (1) {
        for my $i (0 .. $#lines) { return splice(@lines, $i, 1) if $lines[$i] =~ /^$name $pattern/ }
        my $left = $end - Time::HiRes::time();
        return "nothing of $name $pattern" if $left <= 0 || !IO::Select->new($out)->can_read($left);
        sysread($out, $buffer, 65536, length $buffer) or return 'the client ended';
        push @lines, $1 while $buffer =~ s/^(.*)\n//;
    }
}
my $cookie = 'gp_session=' . $g->session_token(sid => 'session-a');

order("open $_ 2048 $cookie") for qw(a b c);
order("http1 d $cookie");
for (qw(a b c d)) {
    is(said($_, 'status'), "$_ status 200", "stream $_ is open");
    like(said($_, 'id'), qr/id \d+-\d+/, '  and live');
}
is($g->metric('gitpod_subscribers'), 4, 'four subscribers on two connections');
publish() for 1 .. 3;
for my $name (qw(a b c d)) { is(said($name, 'event'), "$name event workspace $_", "stream $name has event $_") for 1 .. 3 }
like(said('a', 'id'), qr/id/, 'heartbeats come');

# More than a window, which the client opens again as it reads.
publish(7000);
is(said($_, 'event'), "$_ event workspace $n", "stream $_ has an event larger than its window") for qw(a b c d);

# One that does not read holds up nobody, and goes on when it reads again.
order('pause b');
for (1 .. 5) {
    publish(3000);
    is(said($_, 'event'), "$_ event workspace $n", "stream $_ has event $n while b does not read") for qw(a c d);
}
order('resume b');
is(said('b', 'event'), "b event workspace $_", "b has event $_ late") for $n - 4 .. $n;
publish();
is(said($_, 'event'), "$_ event workspace $n", "stream $_ is live") for qw(a b c d);

# One that never reads is dropped, alone.
order('pause b');
publish(3000) for 1 .. 15;
for my $name (qw(a c d)) { is(said($name, 'event'), "$name event workspace $_", "stream $name has event $_") for $n - 14 .. $n }
GitpodGateway::wait_for('b to be dropped', sub { $g->metric('gitpod_subscribers_slow_total') == 1 });
GitpodGateway::wait_for('three to be left', sub { $g->metric('gitpod_subscribers') == 3 });

order('close c');
GitpodGateway::wait_for('a stream that is given up to be forgotten', sub { $g->metric('gitpod_subscribers') == 2 });
publish();
is(said($_, 'event'), "$_ event workspace $n", "stream $_ goes on") for qw(a d);

$g->revoke(session => 'session-a');
like(said($_, 'end'), qr/end/, "stream $_ ends with its session") for qw(a d);
is($g->metric('gitpod_subscribers'), 0, 'nobody is left');

# A reload ends streams of HTTP/2 too.
order("open e 65535 gp_session=" . $g->session_token(sid => 'session-b'));
is(said('e', 'status'), 'e status 200', 'another stream on the same connection');
like(said('e', 'id'), qr/id/, '  is live');
$g->reload;
like(said('e', 'end'), qr/end/, '  and ends at a reload');
unlike($g->error_log, qr/open socket|http request count/, 'nothing is left behind');

$g->finish;
