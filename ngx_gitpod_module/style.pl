#!/usr/bin/perl
# The mechanical part of nginx's style:  style.pl FILE-OR-DIRECTORY...
# Prints "file:line: what" for each fault and exits 1 when there is any.

use strict;
use warnings;

use File::Find;

my @files;
for my $path (@ARGV) {
    if (-d $path) {
        find({ no_chdir => 1, wanted => sub { push @files, $_ if /\.[ch]$/ } }, $path);
    } else {
        push @files, $path;
    }
}
die "usage: $0 FILE-OR-DIRECTORY...\n" if !@files;

my $faults = 0;

sub fault {
    my ($file, $line, $what) = @_;
    print "$file:$line: $what\n";
    $faults++;
}

for my $file (sort @files) {
    open my $f, '<', $file or die "$file: $!\n";
    my @lines = <$f>;
    close $f;

    fault($file, 1, 'the first line is empty in nginx files') if @lines && $lines[0] ne "\n";
    fault($file, scalar @lines, 'no newline at the end') if @lines && $lines[-1] !~ /\n\z/;
    fault($file, scalar @lines, 'empty line at the end') if @lines && $lines[-1] eq "\n";

    my $comment = 0;
    my $empty = 0;
    for my $n (1 .. @lines) {
        my $line = $lines[ $n - 1 ];
        chomp $line;

        fault($file, $n, 'tab') if $line =~ /\t/;
        fault($file, $n, 'trailing space') if $line =~ /\s$/;
        fault($file, $n, 'longer than 79 columns') if length $line > 79;
        fault($file, $n, 'not ASCII') if $line =~ /[^\x00-\x7f]/;

        # what the compiler sees: strings emptied, comments gone
        my $code = $line;
        $code =~ s/"(?:[^"\\]|\\.)*"/""/g;
        $code =~ s{/\*.*?\*/}{}g;
        if ($comment) { $comment = 0 if $code =~ s{^.*?\*/}{}; $code = '' if $comment }
        if ($code =~ s{/\*.*$}{}) { $comment = 1 }

        fault($file, $n, '// comment') if $code =~ m{//};
        fault($file, $n, "no space after $1") if $code =~ /\b(if|for|while|switch)\(/;
        fault($file, $n, 'brace on the line of the function') if $code =~ /^[a-z]\w*\(.*\{$/;
        fault($file, $n, 'type on the line of the function')
            if $code =~ /^(?:static )?(?:ngx_\w+|void|char|size_t|u_char|time_t|uint\d+_t|int)\s[ *]*\w+\([^;]*$/
            && ($lines[$n] // '') =~ /^\{/;
        fault($file, $n, 'indent is not a multiple of 4')
            if $code =~ /^( +)(?:if|for|while|switch|return|break|continue|goto)\b/ && length($1) % 4;

        # two empty lines between functions, and never three
        if ($line eq '') {
            $empty++;
        } else {
            fault($file, $n, 'more than two empty lines') if $empty > 2;
            my $previous = $n - $empty - 2 >= 0 ? $lines[ $n - $empty - 2 ] : '';
            fault($file, $n, 'two empty lines after a function') if $previous eq "}\n" && $empty != 2 && $line !~ /^#/;
            $empty = 0;
        }
    }
}

print "$faults faults\n" if $faults;
exit($faults ? 1 : 0);
