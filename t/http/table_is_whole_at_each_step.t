# A writer of the table of shared memory, stopped after each instruction, and
# killed there: see table_step.c.
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
my @command = ('cc', '-std=gnu11', '-O2', '-g', '-Wall', '-Wno-unused-parameter', '-Werror', @include, '-o', "$dir/step",
    "$top/t/http/table_step.c", map { "$top/ngx_gitpod_module/shared/ngx_gitpod_$_.c" } qw(table table_write));

SKIP: {
    is(system(@command), 0, 'it compiles') or skip 'no program', 1;
    my @lines = `$dir/step`;
    is($?, 0, 'it runs to its end');
    is(scalar @lines, 7, 'all changes are made');
    for (@lines) {
        my ($name, $steps, $said) = /^(.*): steps=(\d+) (.*)$/;
        is($said, 'whole', "$name: nothing is torn, lost or twice after any of $steps instructions");
        cmp_ok($steps, '>', 100, 'and there were many');
    }
}

done_testing();
