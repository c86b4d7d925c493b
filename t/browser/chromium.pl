#!/usr/bin/perl
# Debian's Chromium that is not told of this machine's interfaces: each
# container that a test beside this one starts or stops changes them, and
# Chromium then fails whatever is just connecting (net::ERR_NETWORK_CHANGED).
# Without a route socket (netlink(7)) it takes the network for unchanging.
use strict;
use warnings;

# <linux/seccomp.h>, <linux/filter.h>, <asm/unistd_64.h>
use constant {
    PR_SET_SECCOMP => 22, PR_SET_NO_NEW_PRIVS => 38, SECCOMP_MODE_FILTER => 2,
    AF_NETLINK => 16, EAFNOSUPPORT => 97,
    RET_ERRNO => 0x00050000, RET_ALLOW => 0x7fff0000,
    LD_W_ABS => 0x20, JEQ_K => 0x15, RET_K => 0x06,
};

my ($PRCTL, $SOCKET) = `uname -m` =~ /aarch64/ ? (167, 198) : (157, 41);
my @filter = (
    [LD_W_ABS, 0, 0, 0],                      # the call's number
    [JEQ_K, 0, 3, $SOCKET],
    [LD_W_ABS, 0, 0, 16],                     # its first argument
    [JEQ_K, 0, 1, AF_NETLINK],
    [RET_K, 0, 0, RET_ERRNO | EAFNOSUPPORT],
    [RET_K, 0, 0, RET_ALLOW],
);
my $code = join '', map { pack 'SCCL', @$_ } @filter;
my $program = pack 'Sx![P]P', scalar @filter, $code;
syscall($PRCTL, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 or die "no_new_privs: $!\n";
syscall($PRCTL, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, $program, 0, 0) == 0 or die "seccomp: $!\n";
exec '/usr/bin/chromium', @ARGV or die "/usr/bin/chromium: $!\n";
