#!/usr/bin/perl
# The main job in a real browser: sign in by the link, paste a Git URL, be in
# VS Code, type into its terminal, stop, start again, find the work.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use GitpodSystem;

my $s = GitpodSystem->new;
my $git = $s->git_server;
$s->git_repository('acme/hello', {
    'README.md' => "# hello from the repository\n",
    '.gitpod.yml' => "tasks:\n  - name: greet\n    init: echo init >> /workspace/hello/tasks.txt\n    command: echo command >> /workspace/hello/tasks.txt; echo task-says-\$((40+2))\n  - name: ended\n    command: echo gone-\$((40+3)); exit\nvscode:\n  extensions: [a.b]\n",
    '.gitignore' => "tasks.txt\n",
});

my $shots = $ENV{GITPOD_SCREENSHOTS} // "$s->{env}{GITPOD_STATE}/screenshots";
mkdir $shots;
local $ENV{GP_LINK} = $s->{link};
local $ENV{GP_URL} = $s->{url};
local $ENV{GP_EDITOR_HOST} = $s->{mode} eq 'port' ? $s->{workspace_domain} : '';
local $ENV{GP_REPOSITORY} = "$git/acme/hello.git";
local $ENV{GP_SCREENSHOTS} = $shots;
local $ENV{GP_PROFILE} = "$s->{dir}/chromium";

open my $node, '-|', 'timeout', '-k', '5', '400', 'node', "$GitpodSystem::TOP/t/browser/first_light.mjs" or die "node: $!";
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
cmp_ok($n, '>=', 24, 'the browser script made its assertions');

$s->down;
done_testing();
