#!/usr/bin/perl
# proto/generate.py: the map of callers, and what it refuses.

use strict;
use warnings;

use File::Path qw(make_path);
use File::Temp qw(tempdir);
use FindBin;
use Test::More;

my $top = "$FindBin::Bin/../..";
my $dir = tempdir(CLEANUP => 1);

sub write_file {
    my ($name, $text) = @_;
    open(my $fh, '>', $name) or die "$name: $!";
    print $fh $text;
    close $fh or die "$name: $!";
}

sub read_file {
    my ($name) = @_;
    open(my $fh, '<', $name) or return '';
    local $/ = undef;
    my $text = <$fh>;
    close $fh or die "$name: $!";
    return $text;
}

# Runs generate.py over one internal proto with this service body: exit code, output file, stderr.
sub callers_of {
    my ($body) = @_;
    make_path("$dir/gitpod/internal/v1");
    write_file("$dir/gitpod/internal/v1/x.proto", "syntax = \"proto3\";\npackage gitpod.internal.v1;\n$body\n");
    unlink "$dir/callers.map";
    my $rc = system("python3 '$top/proto/generate.py' callers '$dir' '$dir/callers.map' 2>'$dir/stderr'");
    return ($rc >> 8, read_file("$dir/callers.map"), read_file("$dir/stderr"));
}

my ($rc, $map, $err) = callers_of(<<'EOF');
service A { // rpc Commented(X) returns (Y) {}
  rpc One(X) returns (Y) { option (callers) = "ide, auth"; }
  rpc Two(X) returns (stream Y) { option (callers) = "admin"; } }
EOF
is($rc, 0, 'methods with callers make a map');
is_deeply([grep { !/^#/ } split /\n/, $map],
    ['"admin:/gitpod.internal.v1.A/Two" 1;', '"auth:/gitpod.internal.v1.A/One" 1;', '"ide:/gitpod.internal.v1.A/One" 1;'],
    'one line for each pair, comments in the proto left out');

($rc, $map, $err) = callers_of('service A { rpc One(X) returns (Y) {} }');
isnt($rc, 0, 'a method without callers stops the build');
like($err, qr{/gitpod\.internal\.v1\.A/One has no `callers` option}, 'and is named');

($rc, $map, $err) = callers_of('service A { rpc One(X) returns (Y) { option (callers) = "nginx"; } }');
isnt($rc, 0, 'a caller that is no service stops the build');
like($err, qr{"nginx"}, 'and is named');

my $real = qx(python3 '$top/proto/generate.py' callers '$top/proto' '$dir/real.map' 2>&1);
is($real, '', 'the real protos have callers everywhere');
my $text = read_file("$dir/real.map");
unlike($text, qr{gitpod\.v1\.}, 'public methods are not in the map');
unlike($text, qr{"(?!content:)[^"]*AuthService/GetGitToken"}, 'only content reads git tokens in the clear');

done_testing();
