#!/usr/bin/perl
# A page on one private port of a workspace calls the program on another, as
# front ends call their API, in a real browser: fetch() with credentials, a
# method and headers that want a preflight.
use strict;
use warnings;
use Test::More;
use GitpodGateway;

my $off = sub { my ($name, $text) = @_; $text =~ s/gitpod_preflight on;//; return $text };
my $g = GitpodGateway->new(edit => $off);
my $id = 'amber-fox-k3j9x2m1';
my $address = GitpodGateway::free_address();
my $host = $g->workspace($id, listen => [23000], address => $address);

sub browser {
    my ($what) = @_;
    my @arguments = ($what, $address, $g->{port}, "3000-$host", "8080-$host", $g->{domain}, $g->session_token, "$g->{dir}/chromium-$what");
    open my $node, '-|', 'timeout', '-k', '5', '60', 'node', "$GitpodGateway::TOP/t/browser/preflight.mjs", @arguments or die "node: $!";
    my $n = 0;
    while (my $line = <$node>) {
        if ($line =~ /^(not )?ok - (.*)/) { ok(!$1, "$what: $2"); $n++ }
        else { diag($line) }
    }
    close $node;
    is($? >> 8, 0, "$what: the browser's script ran to its end");
    return $n;
}

cmp_ok(browser('off'), '>=', 2, 'without gitpod_preflight: the complaint');
$g->{edit} = sub { $_[1] };
$g->reload;
cmp_ok(browser('on'), '>=', 6, 'with it');
$g->finish;
