#!/usr/bin/perl
# Rooms depend one way (docs/architecture.md): an #include against the grain is an error.
use strict;
use warnings;

my %may = (
    core => [],
    jose => ['core'],
    base => ['core'],
    wire => [qw(core base)],
    sys => [qw(core base)],
    net => [qw(core base wire sys)],
    store => [qw(core base net)],
    rpc => [qw(core base wire sys net)],
    oci => [qw(core base wire sys net store)],
);
my @lib = keys %may;
my $bad = 0;
for my $file (split /\n/, qx(git ls-files 'plugins/*.[ch]' 'workspace/*.[ch]' 'ngx_gitpod_module/*.[ch]')) {
    my ($room, $allowed);
    if ($file =~ m{^plugins/lib/(\w+)/}) { $room = $1; $allowed = [$1, @{$may{$1} or die "$file: room $1 is not in t/lib/layers.pl\n"}] }
    elsif ($file =~ m{^plugins/(\w+)/}) { $room = $1; $allowed = [@lib, $1] }
    elsif ($file =~ m{^workspace/}) { $room = 'workspace'; $allowed = [qw(core base)] }
    else { $room = 'module'; $allowed = [qw(core jose)] }
    open my $fh, '<', $file or next;
    while (<$fh>) {
        next unless m{^\s*#\s*include\s+"(\w+)/\w+\.h"};
        my $to = $1;
        next unless exists $may{$to} || -d "plugins/$to";
        next if grep { $_ eq $to } @$allowed;
        print "$file:$.: room '$room' may not include '$to'\n";
        $bad++;
    }
}
exit($bad ? 1 : 0);
