#!/usr/bin/perl
# The option tables of docs/services, from what the services' --help says:
#
#   options.pl DIR            writes them; DIR has SERVICE/SERVICE for each service
#   options.pl --check DIR    says which page is not current
#
# A page has its table between the lines BEGIN and END below. What every
# service has (README.md) is not repeated on the pages.

use strict;
use warnings;

use constant BEGIN_LINE => '<!-- options: written by t/lib/options.pl -->';
use constant END_LINE => '<!-- options end -->';

my $check = @ARGV && $ARGV[0] eq '--check' ? shift : '';
my $dir = shift // die "usage: $0 [--check] DIRECTORY-OF-SERVICES\n";

# One hash for each option, in the order of --help.
sub options_of {
    my ($service) = @_;
    my $program = "$dir/$service/$service";
    -x $program or die "$program is not there: build it first\n";
    my $help = do { local %ENV = (PATH => $ENV{PATH}); `'$program' --help` };
    die "$program --help failed\n" if $? != 0;
    my @options;
    while ($help =~ /^  --([\w-]+) <(.*?)>\n      (.*)\n      (?:default: (.*?); )?(?:(required); )?(?:(.*?); )?environment: (\w+)$/mg) {
        push @options, { name => $1, type => $2, text => ucfirst $3, default => $4, required => $5, bounds => $6, environment => $7 };
    }
    my $n = () = $help =~ /environment: /g;
    die "$program --help has $n options, understood " . @options . "\n" if $n != @options || !$n;
    return @options;
}

sub table {
    my $text = "| option | type | default | bounds | what |\n|---|---|---|---|---|\n";
    for my $o (@_) {
        my $default = $o->{required} ? 'required' : $o->{default} eq '(empty)' ? 'empty' : "`$o->{default}`";
        (my $what = $o->{text}) =~ s/\|/\\|/g;
        $what =~ s/<([\w-]+)>/`<$1>`/g;
        $what =~ s/\.?$/./;
        (my $type = $o->{type}) =~ s/\|/ or /g;
        $text .= "| `--$o->{name}` | $type | $default | @{[ $o->{bounds} // '' ]} | $what |\n";
    }
    return $text;
}

my $stale = 0;

sub put {
    my ($page, @options) = @_;
    open my $in, '<', $page or die "$page: $!\n";
    my $old = do { local $/; <$in> };
    my ($begin, $end) = (quotemeta BEGIN_LINE, quotemeta END_LINE);
    my $body = @options ? table(@options) : "None of its own.\n";
    (my $new = $old) =~ s/$begin\n.*?$end\n/BEGIN_LINE . "\n$body" . END_LINE . "\n"/es
        or die "$page: the lines '@{[ BEGIN_LINE ]}' and '@{[ END_LINE ]}' are missing\n";
    return if $new eq $old;
    if ($check) {
        print "$page: its table of options is not what --help says; run: perl t/lib/options.pl build/c/plugins\n";
        $stale = 1;
        return;
    }
    open my $out, '>', $page or die "$page: $!\n";
    print $out $new;
    close $out or die "$page: $!\n";
}

my %options = map { m{^plugins/(\w+)/} ? ($1 => [options_of($1)]) : () } glob 'plugins/*/main.c';
my ($any) = sort keys %options;
my @common = grep {
    my $o = $_;
    !grep { my $s = $_; !grep { $_->{name} eq $o->{name} && $_->{text} eq $o->{text} } @{ $options{$s} } } keys %options
} @{ $options{$any} };
my %is_common = map { $_->{name} => 1 } @common;

put('docs/services/README.md', @common);
put("docs/services/$_.md", grep { !$is_common{ $_->{name} } } @{ $options{$_} }) for sort keys %options;
exit $stale;
