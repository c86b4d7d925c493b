# The table of shared memory under readers and a writer that is killed 200
# times, twice: see table_torture.c. Compiled here, since it wants nginx's headers.
use strict;
use warnings;
use Test::More;
use ModuleProgram;

my $program = ModuleProgram::compile('t/http/table_torture.c', shared => [qw(table table_write)]);
for my $keys ('', 'crowded') {
    my $text = `$program 200 $keys`;
    is($?, 0, ($keys || 'spread') . ' keys: it runs to its end');
    diag($text);
    my %n = $text =~ /(\w+)=(\d+)/g;
    cmp_ok($n{writes}, '>', 10_000, 'the writers wrote');
    cmp_ok($n{reads}, '>', 10_000, 'the readers read');
    is($n{torn}, 0, 'no value was seen that was not written as a whole');
    is($n{older}, 0, 'none was seen again after a newer one');
    is($n{missed}, 0, 'no key was missed that was there');
    is($n{lost}, 0, 'no writer and no reader broke');
    is($n{consistent}, 1, 'the table is whole at the end');
    is($n{fills}, 1, 'and no place of it is lost');
}

done_testing();
