# The ring of events in shared memory under readers and a writer that is killed
# 300 times: see event_torture.c. Compiled here, since it wants nginx's headers.
use strict;
use warnings;
use File::Basename qw(dirname);
use File::Temp qw(tempdir);
use Test::More;
use GitpodTest;

my $top = $GitpodTest::TOP;
my $dir = tempdir(CLEANUP => 1);
my $nginx = '/usr/share/nginx/src/src';
my $objs = dirname(GitpodTest::module()) . '/objs';
my @include = map { "-I$_" } "$nginx/core", "$nginx/event", "$nginx/event/modules", "$nginx/os/unix", $objs, "$top/ngx_gitpod_module/shared",
    "$top/plugins/lib";
my @command = ('cc', '-std=gnu11', '-O2', '-g', '-Wall', '-Wno-unused-parameter', '-Werror', @include, '-o', "$dir/torture",
    "$top/t/http/event_torture.c", "$top/ngx_gitpod_module/shared/ngx_gitpod_event.c");

is(system(@command), 0, 'it compiles') or BAIL_OUT('no program');
my $text = `$dir/torture 300`;
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
