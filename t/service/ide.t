#!/usr/bin/perl
# The ide plugin over its socket: the catalogue, good and bad.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use JSON::PP;
use PluginRun;
use Test::More;

my $t = PluginRun->new;
my $file = "$t->{state}/catalogue.json";
my $mount = "$t->{state}/code";
mkdir $mount;
sub entry { return { id => 'code', title => 'VS Code', version => '1', default => JSON::PP::true, mount => $mount, command => ['/ide/bin/editor'], probe => 'http://127.0.0.1:23000/healthz', @_ } }
sub catalogue {
    open my $fh, '>', "$file.new" or die $!;
    print $fh ref $_[0] ? encode_json({ editors => $_[0] }) : $_[0];
    close $fh;
    rename "$file.new", $file or die $!;
}
sub call { my ($method, %m) = @_; return $t->rpc('ide', "gitpod.internal.v1.IdeService/$method", \%m, GITPOD_CALLER => 'ws_manager') }

catalogue([ entry(), entry(id => 'code', version => '2', default => JSON::PP::false), entry(id => 'theia', version => '3', default => JSON::PP::false, mount => "$t->{state}/none") ]);
$t->start('ide', '--catalogue', $file);
is($t->http('ide', 'GET', '/health')->{status}, 200, 'healthy');
is(scalar @{ (call('ListEditors'))[0]{editors} }, 3, 'all are listed');
my ($e) = call('ResolveEditor');
is_deeply([ @{ $e->{editor} }{qw(id version mountSource command probeUrl isDefault)} ], [ 'code', '1', $mount, ['/ide/bin/editor'], 'http://127.0.0.1:23000/healthz', JSON::PP::true ], 'no id: the default, with all a start needs');
is((call('ResolveEditor', id => 'code', version => '2'))[0]{editor}{version}, '2', 'a version');
is((call('ResolveEditor', id => 'code', version => 'latest'))[0]{editor}{version}, '1', 'latest is the first of the id');
my ($err, $status) = call('ResolveEditor', id => 'emacs');
is("$status $err->{code}", '404 not_found', 'an unknown editor');
like($err->{message}, qr/"emacs".*code 1, code 2, theia 3/, '  the text names those there are');
($err) = call('ResolveEditor', id => 'code', version => '9');
is($err->{code}, 'not_found', 'an unknown version');
($err) = call('ResolveEditor', id => 'theia');
is($err->{code}, 'failed_precondition', 'an editor that is not installed');
like($err->{message}, qr{\Q$t->{state}/none\E.*build\.sh deps}, '  the text names the directory and the way out');

catalogue([ entry(version => '7') ]);
is((call('ResolveEditor'))[0]{editor}{version}, '7', 'a changed file counts at once');
for my $case (
    [ 'not JSON', '{', qr/line 1/ ], [ 'no list', '{}', qr/"editors"/ ], [ 'an empty list', [], qr/"editors"/ ], [ 'two defaults', [ entry(), entry() ], qr/2 entries are the default/ ],
    [ 'no id', [ entry(id => '') ], qr/entry 0: "id"/ ], [ 'a command that is no list', [ entry(command => 'x') ], qr/"command"/ ], [ 'a relative mount', [ entry(mount => 'x') ], qr/"mount"/ ]) {
    catalogue($case->[1]);
    ($err) = call('ListEditors');
    ok($err->{code} eq 'failed_precondition' && $err->{message} =~ $case->[2], "$case->[0] is refused with a text") or diag(encode_json($err));
}
unlink $file;
is((call('ListEditors'))[0]{code}, 'not_found', 'a missing file');
is($t->stop('ide'), 0, 'it ends on SIGTERM');
eval { $t->start('ide', '--catalogue', $file) };
like($@, qr/catalogue of editors/, 'it does not start without a catalogue');
done_testing();
