# A writer of the table of shared memory, stopped after each instruction, and
# killed there: see table_step.c.
use strict;
use warnings;
use Test::More;
use ModuleProgram;

my $program = ModuleProgram::compile('t/http/table_step.c', shared => [qw(table table_write)]);
my @lines = `$program`;
is($?, 0, 'it runs to its end');
is(scalar @lines, 7, 'all changes are made');
for (@lines) {
    my ($name, $steps, $said) = /^(.*): steps=(\d+) (.*)$/;
    is($said, 'whole', "$name: nothing is torn, lost or twice after any of $steps instructions");
    cmp_ok($steps, '>', 100, 'and there were many');
}

done_testing();
