#!/usr/bin/perl
# listen.pl SOCKET PROGRAM...: runs PROGRAM with a listening socket passed as
# systemd does (sd_listen_fds(3)). Podman makes its own socket 0600 root; this
# one takes its group from the directory (setgid) and its mode from the umask.
use strict;
use warnings;
use POSIX ();
use Socket;

my $path = shift;
$^F = 1000; # what is opened here survives exec
unlink $path;
socket my $s, PF_UNIX, SOCK_STREAM, 0 or die "socket: $!\n";
bind $s, sockaddr_un($path) or die "$path: $!\n";
listen $s, 128 or die "$path: $!\n";
if (fileno $s != 3) {
    POSIX::dup2(fileno $s, 3) or die "dup2: $!\n";
    close $s;
}
@ENV{qw(LISTEN_PID LISTEN_FDS)} = ($$, 1);
exec @ARGV or die "$ARGV[0]: $!\n";
