# The keys of an issuer's URL are kept in a file: a new start of nginx, or another binary, with the issuer dead lets people
# in at once. A file that is cut, old or something else opens nothing, and is replaced by the next fetch.
use strict;
use warnings;
use IO::Socket::INET;
use Test::More;
use Time::HiRes qw(time sleep);
use GitpodGateway;

my $port = GitpodGateway::free_port();
my $options = 'interval=1s again=500ms grace=10s stale=1h';
my $g = GitpodGateway->new(
    start => 0, daemon => 1,
    edit => sub { my ($name, $text) = @_; $text =~ s{^gitpod_key_set_url \S+ grace=0 (snapshot=\S+);}{gitpod_key_set_url http://127.0.0.1:$port/keys $options $1;}m if $name eq 'nginx_feed.conf'; return $text });
my $d = $g->{domain};
my %key = ('key-a' => $g->new_key('key-a'), 'key-b' => $g->new_key('key-b', 2048));
my ($dir, $issuer) = "$g->{state}/gateway";

sub set { return $GitpodGateway::JSON->encode({ keys => [map { ref $_ ? $_ : $key{$_}{jwk} } @_] }) }
sub issue {
    my (@keys) = @_;
    my $body = set(@keys);
    my $listener = IO::Socket::INET->new(Listen => 64, LocalAddr => '127.0.0.1', LocalPort => $port, ReuseAddr => 1) or die "$port: $!";
    $issuer = $g->child('issuer.log', sub {
        while (my $c = $listener->accept) {
            while (defined(my $head = <$c>)) { last if $head =~ /^\r?\n/ }
            print $c "HTTP/1.1 200 OK\r\nContent-Length: " . length($body) . "\r\n\r\n$body";
            close $c;
        }
    });
}
sub issuer_dies { $g->end_child($issuer, 'KILL') }
sub ask { my ($kid) = @_; return $g->post($d, '/public-api/gitpod.v1.WorkspaceService/ListWorkspaces', '{}', Cookie => 'gp_session=' . $g->jwt($g->session_claims, key => ref $kid ? $kid : $key{$kid}), Origin => $g->origin($d))->{status} }
sub file { my ($file) = glob "$dir/key_set-*.json"; return $file }
sub head { my ($age, $n) = @_; return sprintf qq({"snapshot":"keys","written":%d,"records":%d}\n), time - $age, $n // 1 }
sub new_log { my $log = $g->error_log; return substr $log, $g->{log_read} // 0 }

# Ended, if not yet reaped by whoever is its parent now.
sub ended { my ($pid) = @_; GitpodGateway::wait_for('nginx to end', sub { !readlink "/proc/$pid/exe" }) }

# Before Redis told them no session is accepted, whatever its key.
sub revocations { GitpodGateway::wait_for('the revocations', sub { ask($g->{key}) == 200 }) }

# A new start, with the file as the sub leaves it.
sub restart {
    my ($between) = @_;
    kill 'TERM', $g->{nginx_pid};
    ended($g->{nginx_pid});
    $between->() if $between;
    $g->{log_read} = length $g->error_log;
    unlink glob "$g->{run}/gateway/*/gateway.sock";
    $g->start;
    revocations();
}

issue('key-a', { %{ $key{'key-b'}{jwk} }, comment => 'secret', d => 'AAAA' });
$g->start;
GitpodGateway::wait_for('the first fetch', sub { ask('key-a') == 200 });
GitpodGateway::wait_for('the file', sub { file() && -s file() });
my $text = GitpodGateway::slurp(file());
like($text, qr/\A\{"snapshot":"keys","written":\d+,"records":1\}\n\{"keys":\[.*"key-a".*"key-b".*\]\}\n\z/, 'what was fetched is in a file');
unlike($text, qr/comment|"d"/, 'and nothing that does not verify');
is(sprintf('%o', (stat file())[2] & 07777), '600', 'which is the gateway\'s');
is(join(' ', map { s{.*/}{}r } glob "$dir/*"), file() =~ s{.*/}{}r, 'alone in its directory');
my @children = `ps -o args= --ppid $g->{nginx_pid}`;
is((grep { /cache manager/ } @children), 1, 'a process of nginx that is no worker writes it');
my ($written) = $text =~ /"written":(\d+)/;
GitpodGateway::wait_for('the next one', sub { GitpodGateway::slurp(file()) =~ /"written":(\d+)/ && $1 > $written });
pass('it follows each fetch');

subtest 'a new start with the issuer dead' => sub {
    issuer_dies();
    restart();
    is(ask('key-a'), 200, 'the first request is let in');
    is(ask('key-b'), 200, 'with every key');
    like(new_log(), qr/\[notice\].*a key set read from "\Q@{[file()]}\E", fetched \d+ s ago; it counts for 3\d\d\d s more/, 'the log says from where');
    cmp_ok($g->metric('gitpod_key_set_age_seconds'), '>=', 0, 'its age is known');
    my $age = $g->metric('gitpod_key_set_age_seconds');
    GitpodGateway::wait_for('it to grow', sub { $g->metric('gitpod_key_set_age_seconds') > $age });
    pass('and counts from the fetch, not from the start');
};

subtest 'another binary with the issuer dead' => sub {
    $g->upgrade_binary;
    ended($g->{old_pid});
    revocations();
    is(ask('key-a'), 200, 'the new one knows the keys');
};

subtest 'the issuer is back' => sub {
    GitpodGateway::wait_for('it to be missed', sub { $g->metric('gitpod_key_fetches_total{outcome="failed"}') });
    issue('key-a');
    GitpodGateway::wait_for('a fetch', sub { new_log() =~ /is there again/ });
    is(ask('key-b'), 200, 'a key that it lists no more has its grace');
    GitpodGateway::wait_for('the file', sub { GitpodGateway::slurp(file()) =~ /gitpod_retired/ });
    issuer_dies();
    restart();
    is(ask('key-b'), 200, 'which a new start does not end');
    restart(sub { GitpodGateway::spew(file(), GitpodGateway::slurp(file()) =~ s/("gitpod_retired":)\d+/$1 . int(time - 60)/er) });
    issue('key-a');
    GitpodGateway::wait_for('the end of it', sub { ask('key-b') == 401 });
    pass('nor prolongs');
    is(ask('key-a'), 200, 'the other one goes on');
};

subtest 'files that are none' => sub {
    my $good = set('key-b') . "\n";
    my @bad = (
        ['nothing', '', qr/is no snapshot of keys: until they are fetched their tokens are refused with 503/],
        ['no file', undef, qr/\[notice\].*cannot be opened: keys must come from their URL/],
        ['something else', "\0\xff<html>\n" x 5000, qr/is no snapshot of keys|was cut/],
        ['one that was cut', head(1) . substr($good, 0, -30), qr/was cut: it has 0 of 1 keys; the rest must come from their URL/],
        ['two sets', head(1) . $good . $good, qr/was cut: it has 2 of 1 keys/],
        ['no key that verifies', head(1) . set({ kty => 'oct', kid => 'key-b', k => 'AAAA', alg => 'HS256' }) . "\n", qr/no usable key in it.*has no usable key set/s],
        ['an old one', head(3700) . $good, qr/\[warn\].*was fetched 37\d\d s ago, and stale= of gitpod_key_set_url is 3600 s/],
        ['one of the future', head(-3700) . $good, qr/\[warn\].*was fetched -3\d\d\d s ago/],
    );
    my $file = file();
    issuer_dies();
    for (@bad) {
        my ($what, $text, $why) = @$_;
        restart(sub { defined $text ? GitpodGateway::spew($file, $text) : unlink $file });
        is(ask('key-b'), 503, "$what opens nothing");
        like(new_log(), $why, "$what: the log says why");
    }
    is(ask($g->{key}), 200, 'the other keys do not mind');
    issue('key-b');
    GitpodGateway::wait_for('the next fetch', sub { ask('key-b') == 200 });
    GitpodGateway::wait_for('the file', sub { GitpodGateway::slurp($file) =~ /key-b/ });
    pass('and the next fetch repairs it');
};

subtest 'an age has an end' => sub {
    issuer_dies();
    restart(sub { GitpodGateway::spew(file(), head(3597) . set('key-b') . "\n") });
    is(ask('key-b'), 200, 'almost too old counts');
    GitpodGateway::wait_for('the rest', sub { ask('key-b') == 503 });
    pass('and then does not');
};

subtest 'a directory that cannot be written' => sub {
    my $file = file();
    unlink $file;
    mkdir $file;
    $g->{log_read} = length $g->error_log;
    issue('key-a');
    GitpodGateway::wait_for('the log', sub { new_log() =~ /\[error\].*rename\(\) of "\Q$file\E.new" failed: a new start of nginx will know older keys/ });
    is(ask('key-a'), 200, 'disturbs nobody');
    ok(!-e "$file.new", 'nothing is left lying about');
    rmdir $file;
    GitpodGateway::wait_for('the file', sub { -f $file });
    GitpodGateway::wait_for('the log', sub { new_log() =~ /\[notice\].*is written again/ });
    is((() = new_log() =~ /rename\(\) of/g), 1, 'it was told once');
    GitpodGateway::spew("$file.new.new", '');
    rename "$file.new.new", "$file.new";
    utime time - 100, time - 100, "$file.new";
    my $was = (stat $file)[9];
    GitpodGateway::wait_for('another', sub { (stat $file)[9] > $was });
    pass('what a killed writer left does not stop the next');
};

subtest 'a gateway beside this one has a newer one' => sub {
    my $file = file();
    issuer_dies();
    restart(sub { GitpodGateway::spew($file, head(20) . set('key-a') . "\n") });
    my $newer = head(0) . set('key-b') . "\n";
    GitpodGateway::spew($file, $newer);
    $g->{log_read} = length $g->error_log;
    $g->reload; # the writer is another process then, and knows nothing of the file
    GitpodGateway::wait_for('the writer', sub { new_log() =~ /\[notice\].*"\Q$file\E" stays: a gateway beside this one fetched later/ });
    is(GitpodGateway::slurp($file), $newer, 'what was fetched before does not replace it');
    ok(!-e "$file.new", 'and leaves nothing');
    issue('key-a');
    GitpodGateway::wait_for('the next fetch', sub { GitpodGateway::slurp($file) =~ /key-a/ });
    pass('what is fetched later does');
};
is(ask('key-a'), 200, 'and the gateway goes on');
$g->finish;
