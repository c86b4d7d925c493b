# The table of shared memory under readers and a writer that is killed 200
# times, twice: see table_torture.c. Compiled here, since it wants nginx's headers.
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
my @include = map { "-I$_" } "$nginx/core", "$nginx/event", "$nginx/event/modules", "$nginx/os/unix", $objs, "$top/ngx_gitpod_module/shared";
my @command = ('cc', '-std=gnu11', '-O2', '-g', '-Wall', '-Wno-unused-parameter', '-Werror', @include, '-o', "$dir/torture",
    "$top/t/http/table_torture.c", map { "$top/ngx_gitpod_module/shared/ngx_gitpod_$_.c" } qw(table table_write));

SKIP: {
    is(system(@command), 0, 'it compiles') or skip 'no program', 1;
    for my $keys ('', 'crowded') {
        my $text = `$dir/torture 200 $keys`;
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
}

done_testing();
