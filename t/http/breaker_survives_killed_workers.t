# Breakers in shared memory under workers that are killed 200 times: see
# breaker_torture.c. Compiled here, since it wants nginx's headers.
use strict;
use warnings;
use Test::More;
use ModuleProgram;

my $program = ModuleProgram::compile('t/http/breaker_torture.c', shared => [qw(breaker table table_write)], core => ['breaker']);
my $text = `$program 200`;
is($?, 0, 'it runs to its end');
diag($text);
my %n = $text =~ /(\w+)=(\d+)/g;
cmp_ok($n{$_}, '>', 1000, "there was much of it: $_") for qw(admitted refused probes opened);
cmp_ok($n{stolen}, '>', 0, 'some died with the lock');
is($n{broken}, 0, 'no breaker was seen that cannot be');
is($n{back}, 0, 'no era went back');
is($n{crowded}, 0, 'never were there more probes than there shall be');
is($n{lost}, 0, 'no worker broke');
is($n{closable}, $n{of}, 'every breaker can be closed again');
is($n{places}, 1, 'no place of the table is lost');

done_testing();
