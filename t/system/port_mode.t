#!/usr/bin/perl
# Mode port: the system tests as they are, with an instance that has no wildcard.
use strict;
use warnings;
use lib 't/lib';
use TAP::Parser;
use Test::More;

local $ENV{TEST_MODE} = 'port';
for my $test (@ARGV ? @ARGV : qw(lifecycle idle outlive tls)) {
    my $parser = TAP::Parser->new({ exec => [ $^X, '-I', 't/lib', "t/system/$test.t" ], merge => 1 });
    my @tail;
    while (my $result = $parser->next) {
        push @tail, $result->as_string if !$result->is_test || !$result->is_ok;
        shift @tail if @tail > 60;
    }
    ok(!$parser->has_problems && $parser->tests_run > 5, sprintf '%s.t in mode port: %d tests', $test, $parser->tests_run) or diag(join "\n", @tail);
}
done_testing();
