# The table of shared memory filled, emptied and filled again, with keys that
# are spread over it and with keys that all want the same place: table_fill.c.
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
my @command = ('cc', '-std=gnu11', '-O1', '-g', '-fsanitize=address,undefined', '-fno-sanitize-recover=all', '-Wall', '-Wno-unused-parameter', '-Werror', @include,
    '-o', "$dir/fill", "$top/t/http/table_fill.c", map { "$top/ngx_gitpod_module/shared/ngx_gitpod_$_.c" } qw(table table_write));

SKIP: {
    is(system(@command), 0, 'it compiles') or skip 'no program', 1;
    for my $keys (qw(spread crowded)) {
        my $text = `$dir/fill $keys`;
        is($?, 0, "$keys keys: nothing is lost, found again or refused while there is room") or diag($text);
        my %n = $text =~ /(\w+)=(\d+)/g;
        cmp_ok($n{passed}, '>', 300, 'many records were not in the group they are at home in');
        is($n{left}, 0, 'and when all are gone nobody has to look further') if $keys eq 'spread';
        is($n{repaired}, 0, 'at the latest when the table is repaired');
    }
}

done_testing();
