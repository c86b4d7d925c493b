# Breakers in shared memory under workers that are killed 200 times: see
# breaker_torture.c. Compiled here, since it wants nginx's headers.
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
my @include = map { "-I$_" } "$nginx/core", "$nginx/event", "$nginx/event/modules", "$nginx/os/unix", $objs,
    "$top/ngx_gitpod_module/shared", "$top/plugins/lib";
my @command = ('cc', '-std=gnu11', '-O2', '-g', '-Wall', '-Wno-unused-parameter', '-Werror', @include, '-o', "$dir/torture",
    "$top/t/http/breaker_torture.c", "$top/plugins/lib/core/breaker.c", map { "$top/ngx_gitpod_module/shared/ngx_gitpod_$_.c" } qw(breaker table table_write));

SKIP: {
    is(system(@command), 0, 'it compiles') or skip 'no program', 1;
    my $text = `$dir/torture 200`;
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
}

done_testing();
