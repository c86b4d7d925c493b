# Who asked for what is not there, or not theirs, reads on the page which address that was and finds the way out; the two cases
# say the same, and nothing that was asked for becomes part of the page.
use strict;
use warnings;
use Cwd qw(abs_path);
use File::Basename qw(dirname);
use IO::Socket::INET;
use Test::More;
use GitpodGateway;

my $g = GitpodGateway->new;
my $d = $g->{domain};
my $top = abs_path($ENV{TOP} // dirname(__FILE__) . '/../..');
my $page = qx(node --input-type=module -e 'import { errorPageFiles } from "$top/dashboard/scripts/error_pages.mjs"; process.stdout.write(errorPageFiles()["errors/404.html"])');
like($page, qr/gitpod_error_asked/, 'the page as it is built') or BAIL_OUT('no page');
open my $fh, '>', "$g->{dashboard}/errors/404.html" or die $!;
print $fh $page;
close $fh or die $!;

my $foreign = $g->workspace('blue-owl-aaaabbbb', owner => $g->{other}, listen => [23000]);
my $unknown = $g->host('never-was-11112222');
my @session = (Cookie => 'gp_session=' . $g->session_token);
my $tail = '&nonce=' . 'a' x 64 . '&path=%2F';
GitpodGateway::wait_for('the key set', sub { $g->browse($d, "/api/handoff?host=$foreign$tail", @session)->{status} == 404 });

sub asked {
    my ($host, $path, @headers) = @_;
    my $r = $g->browse($host, $path, @headers);
    my ($text) = $r->{body} =~ m{You asked for <code>(.*?)</code>}s;
    unlike($r->{body}, qr/<!--#|\[an error/, 'nothing is left to fill in');
    is($r->{status}, 404, substr("$host$path", 0, 60));
    return ($text // '', $r->{body});
}

my %body;
for my $host ($foreign, $unknown, "3000-$unknown") {
    (my $text, $body{$host}) = asked($d, "/api/handoff?host=$host$tail", @session);
    is($text, $host, '  names the host of the hand-off');
    like($body{$host}, qr{<a href="\Q@{[ $g->origin($d) ]}\E/workspaces">}, '  and the way to the workspaces');
    $body{$host} =~ s/\Q$host\E/X/g;
}
is($body{$foreign}, $body{$unknown}, 'what is not theirs and what is not there read the same');

is((asked($d, '/assets/none?x=1&token=geheim'))[0], "$d/assets/none?x=1&amp;token=***", '  names the address, without secrets');
is((asked($d, '/assets/<b>"&none'))[0], "$d/assets/&lt;b&gt;&quot;&amp;none", '  escaped');
my ($text) = asked($d, '/assets/' . 'a' x 3000);
is(length $text, 203, '  cut');
like($text, qr/a\.\.\.$/, '  and shown to be');
unlike((asked($d, "/api/handoff?host=%3Cb%3E<b>$tail", @session))[1], qr/<b>/, '  what is no host is not shown as one');

($text, my $body) = asked('evil.example', '/');
like($text, qr{^evil\.example/$}, '  a foreign host is named');
unlike($body, qr/\Q$d\E|workspaces">/, '  and not told of ours');

# ---- what is no 404 is not called one ----
for ("GET / HTTP/1.1\r\nConnection: close\r\n\r\n", 'GET /' . 'a' x 40_000 . " HTTP/1.1\r\nHost: $d\r\n\r\n") {
    my $c = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $g->{port}) or die $!;
    print $c $_;
    my $answer = do { local $/; <$c> // '' };
    like($answer, qr/^HTTP\/1\.1 (400|414) .*<title>Page 400/s, length($_) > 1000 ? 'an address too long: its own page' : 'no Host: its own page');
}
$g->finish;
