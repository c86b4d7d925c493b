#!/usr/bin/perl
# Every page of the dashboard in every state, in Chromium, under the production
# CSP, against a server of canned answers: what is hard to reach end to end.
use strict;
use warnings;
use Test::More;
use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Temp qw(tempdir);

my $top = abs_path(dirname(__FILE__) . '/../..');
my $tmp = tempdir('gp-dashboard-XXXXXX', TMPDIR => 1, CLEANUP => 1);

# The build of ./build.sh when it is there, else one of our own.
my $dist = $ENV{GP_DASHBOARD} // ($ENV{BUILD} && -d "$ENV{BUILD}/dashboard" ? "$ENV{BUILD}/dashboard" : '');
if (!$dist) {
    $dist = "$tmp/dist";
    -d "$top/dashboard/node_modules" or system("cd $top/dashboard && npm install --no-save >&2") == 0 or BAIL_OUT('npm install failed');
    system("cd $top/dashboard && npm run build -- --outDir $dist >&2") == 0 or BAIL_OUT('the dashboard does not build');
}

local $ENV{GP_DIST} = $dist;
local $ENV{GP_PROFILE} = "$tmp/chromium";
open my $node, '-|', 'timeout', '-k', '5', '300', 'node', "$top/t/browser/dashboard.mjs" or die "node: $!";
my $n = 0;
while (my $line = <$node>) {
    if ($line =~ /^(not )?ok - (.*)/) {
        $n++;
        ok(!$1, $2);
    } else {
        diag($line);
    }
}
close $node;
is($? >> 8, 0, 'the browser script ran to its end');
cmp_ok($n, '>=', 60, 'the browser script made its assertions');
done_testing();
