# The table of shared memory filled, emptied and filled again, with keys that
# are spread over it and with keys that all want the same place: table_fill.c.
use strict;
use warnings;
use Test::More;
use ModuleProgram;

my $program = ModuleProgram::compile('t/http/table_fill.c', shared => [qw(table table_write)],
    flags => ['-O1', '-fsanitize=address,undefined', '-fno-sanitize-recover=all']);
for my $keys (qw(spread crowded)) {
    my $text = `$program $keys`;
    is($?, 0, "$keys keys: nothing is lost, found again or refused while there is room") or diag($text);
    my %n = $text =~ /(\w+)=(\d+)/g;
    cmp_ok($n{passed}, '>', 300, 'many records were not in the group they are at home in');
    is($n{left}, 0, 'and when all are gone nobody has to look further') if $keys eq 'spread';
    is($n{repaired}, 0, 'at the latest when the table is repaired');
}

done_testing();
