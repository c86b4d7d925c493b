#!/usr/bin/perl
# A page on one private port of a workspace calls the program on another, as
# front ends call their API, in a real browser: fetch() with credentials, a
# method and headers that want a preflight.
use strict;
use warnings;
use Test::More;
use GitpodGateway;

my $id = 'amber-fox-k3j9x2m1';
my $address = GitpodGateway::free_address();
my $g;

sub browser {
    my ($what, @hosts) = @_;
    my @arguments = ($what, $g->{domain}, $g->session_token, "$g->{dir}/chromium-$what", @hosts);
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

sub mode_host {
    $g = GitpodGateway->new(edit => sub { my ($name, $text) = @_; $text =~ s/gitpod_preflight on;//; return $text });
    my $host = $g->workspace($id, listen => [23000], address => $address);
    my @hosts = ($address, map { "$_-$host:$g->{port}" } 3000, 9321);
    cmp_ok(browser('off', @hosts), '>=', 2, 'without gitpod_preflight: the complaint');
    $g->{edit} = sub { $_[1] };
    $g->reload;
    cmp_ok(browser('on', @hosts), '>=', 6, 'with it');
}

# The same, though listeners do not show whose they are; a page of another
# workspace may ask, and gets nothing.
sub mode_port {
    $g = GitpodGateway->new(listeners => 4);
    my ($edit, $front, $back, $other) = map { $g->{listener} + $_ } 0 .. 3;
    $g->workspace($id, listen => [23000], address => $address);
    $g->route($id, address => $address, listen => $edit, ports => [{ port => 3000, listen => $front }, { port => 9321, listen => $back }]);
    $g->route('blue-owl-aaaabbbb', address => $address, owner => $g->{other}, ports => [{ port => 3000, listen => $other, visibility => 'public' }]);
    cmp_ok(browser('port', $address, map { "$g->{workspace_domain}:$_" } $front, $back, $other), '>=', 8, 'in mode port');
}

($ENV{TEST_MODE} // '') eq 'port' ? mode_port() : mode_host();
$g->finish;
