#!/usr/bin/perl
# gitpod_issuer: tokens are of that issuer then, and the main domain is none.
use strict;
use warnings;
use Test::More;
use GitpodGateway;

my $g = GitpodGateway->new(edit => sub {
    my ($name, $text) = @_;
    return $text =~ s/^(\s*)(gitpod_domain .*;)/$1$2\n$1gitpod_issuer issuer.test;/mgr;
});

sub status {
    my (%claim) = @_;
    return $g->post($g->{domain}, '/public-api/gitpod.v1.UserService/GetAuthenticatedUser', '{}', Origin => $g->origin($g->{domain}),
        'Content-Type' => 'application/json', Cookie => 'gp_session=' . $g->session_token(%claim))->{status};
}

my $ours = eval { GitpodGateway::wait_for('the key set and the revocations', sub { status(iss => 'issuer.test') == 200 }) };
ok($ours, 'a session of that issuer is good');
is(status(iss => $g->{domain}), 401, 'one of the main domain is none');
is(status(iss => 'issuer.test.evil'), 401, 'nor one that only begins so');

$g->stop;
done_testing;
