# The ring of events in shared memory under readers and a writer that is killed
# 300 times: see event_torture.c. Compiled here, since it wants nginx's headers.
use strict;
use warnings;
use Test::More;
use ModuleProgram;

my $program = ModuleProgram::compile('t/http/event_torture.c', shared => ['event']);
my $text = `$program 300`;
is($?, 0, 'it runs to its end');
diag($text);
my %n = $text =~ /(\w+)=(\d+)/g;
cmp_ok($n{writes}, '>', 10_000, 'the writers wrote');
cmp_ok($n{reads}, '>', 10_000, 'the readers read');
cmp_ok($n{finds} - $n{gone}, '>', 100, 'and went on after an id');
cmp_ok($n{edges}, '>', 10_000, 'and read what was about to go');
is($n{torn}, 0, 'no event was seen that was not written as a whole');
is($n{twice}, 0, 'none was seen twice, or after a newer one');
is($n{missed}, 0, 'none was missing');
is($n{lost}, 0, 'no writer and no reader broke');

done_testing();
