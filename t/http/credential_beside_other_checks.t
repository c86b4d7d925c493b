# gitpod_auth beside nginx's own checks: satisfy all and any, error_page, named
# locations, subrequests, internal redirects.
use strict;
use warnings;
use MIME::Base64 qw(encode_base64);
use Test::More;
use GitpodGateway;

my $locations = <<'X';
    # each answers with what a plugin is told
    location = /all { gitpod_auth on; auth_basic "test"; auth_basic_user_file PASSWORDS; fastcgi_param GITPOD_PATH /all; include FASTCGI; fastcgi_pass gitpod_public_api; }
    location = /any { gitpod_auth on; satisfy any; auth_basic "test"; auth_basic_user_file PASSWORDS; fastcgi_param GITPOD_PATH /any; include FASTCGI; fastcgi_pass gitpod_public_api; }
    location = /any-address { gitpod_auth on; satisfy any; allow 127.0.0.1; deny all; fastcgi_param GITPOD_PATH /any-address; include FASTCGI; fastcgi_pass gitpod_public_api; }
    location = /any-no-address { gitpod_auth on; satisfy any; deny all; fastcgi_param GITPOD_PATH /any-no-address; include FASTCGI; fastcgi_pass gitpod_public_api; }
    location = /any-request { gitpod_auth on; satisfy any; auth_request /no; fastcgi_param GITPOD_PATH /any-request; include FASTCGI; fastcgi_pass gitpod_public_api; }
    location = /no { internal; return 403; }

    location = /named { gitpod_auth on; try_files /none @named; }
    location @named { fastcgi_param GITPOD_PATH /named; include FASTCGI; fastcgi_pass gitpod_public_api; }
    location = /named-auth { error_page 418 = @named_auth; return 418; }
    location @named_auth { gitpod_auth on; fastcgi_param GITPOD_PATH /named_auth; include FASTCGI; fastcgi_pass gitpod_public_api; }
    location = /login-page { gitpod_auth on; error_page 401 = /told; fastcgi_param GITPOD_PATH /x; include FASTCGI; fastcgi_pass gitpod_public_api; }
    location = /told { gitpod_auth optional; fastcgi_param GITPOD_PATH /told; include FASTCGI; fastcgi_pass gitpod_public_api; }
    location = /twice { gitpod_auth on; try_files /none /twice-b; }
    location = /twice-b { gitpod_auth on; fastcgi_param GITPOD_PATH /twice-b; include FASTCGI; fastcgi_pass gitpod_public_api; }

    location = /asks { gitpod_auth on; auth_request /asked; fastcgi_param GITPOD_PATH /asks; include FASTCGI; fastcgi_pass gitpod_public_api; }
    location = /asked { internal; gitpod_auth on; fastcgi_param GITPOD_PATH /asked; include FASTCGI; fastcgi_pass gitpod_public_api; }
    location = /mirrored { gitpod_auth on; mirror /mirror; fastcgi_param GITPOD_PATH /mirrored; include FASTCGI; fastcgi_pass gitpod_public_api; }
    location = /mirror { internal; gitpod_auth on; fastcgi_param GITPOD_PATH /mirror; include FASTCGI; fastcgi_pass gitpod_public_api; }
X
my $g = GitpodGateway->new(edit => sub {
    my ($name, $text) = @_;
    return $text if $name ne 'nginx_domain.conf';
    my ($fastcgi) = $text =~ /include (\S+nginx_fastcgi.conf);/;
    my $dir = $fastcgi =~ s{/[^/]*$}{}r;
    GitpodGateway::spew("$dir/passwords", "basic:{PLAIN}secret\n");
    my $more = $locations =~ s/FASTCGI/$fastcgi/gr =~ s/PASSWORDS/$dir\/passwords/gr;
    $text =~ s/^(    location = \/api\/logout)/$more\n$1/m or die 'the template changed';
    return $text;
});
my $d = $g->{domain};
my @session = (Cookie => 'gp_session=' . $g->session_token, Origin => $g->origin($d));
my @basic = (Authorization => 'Basic ' . encode_base64('basic:secret', ''));
my @bad = (Cookie => 'gp_session=none');
my $pat = 'gitpod_pat_sig.' . 'p' x 40;
$g->put_token($pat, scopes => 'one');
my @token = (Authorization => "Bearer $pat");

sub user { my ($r) = @_; return ($r->{json}{params} // {})->{GITPOD_USER} }
sub status { my ($path, @headers) = @_; return $g->get($d, $path, @headers)->{status} }

GitpodGateway::wait_for('the key set', sub { status('/any-no-address', @session) == 200 });

# satisfy all: every check must pass
is(status('/all', @session, @basic), 200, 'all: both credentials');
is(status('/all', @session), 401, 'all: the session alone');
is(status('/all', @basic), 401, 'all: the password alone');
is(user($g->get($d, '/all', @session, @basic)), $g->{owner}, 'all: the plugin is told who it is');

# satisfy any: one is enough, and who that is decides who it is
my $r = $g->get($d, '/any', @session);
is("$r->{status} " . user($r), "200 $g->{owner}", 'any: a session');
$r = $g->get($d, '/any', @token);
is("$r->{status} " . user($r), "200 $g->{owner}", 'any: a token, which is asked about');
$r = $g->get($d, '/any', @basic);
is("$r->{status} " . user($r), '200 ', 'any: a password, and nobody of ours');
is($r->{headers}{'www-authenticate'}, undef, 'any: what others asked for is not asked of who got in');
$r = $g->get($d, '/any', @basic, @bad);
is("$r->{status} " . user($r), '200 ', 'any: a bad session beside a good password is nobody');
$r = $g->get($d, '/any');
is($r->{status}, 401, 'any: neither');
is($r->{json}{code}, 'unauthenticated', 'any: told as JSON to a program');
is(status('/any', @bad), 401, 'any: a bad session');
is(status('/any', Authorization => 'Bearer gitpod_pat_sig.unknown'), 401, 'any: a token that auth does not know');
is($g->browse($d, '/any')->{status}, 401, 'any: a person gets a page, not the log-in, for there is another way in');
is(status('/any-address'), 200, 'any: an address that is allowed');
is(user($g->get($d, '/any-address', @session)), $g->{owner}, 'any: with a session it is known who');
is(status('/any-no-address'), 401, 'any: one that is not');
is(status('/any-no-address', @session), 200, 'any: but for a session');
is(status('/any-request', @session), 200, 'any: beside a question that is answered no');
is(status('/any-request'), 401, 'any: nobody');
is($g->post($d, '/any', '{}', Cookie => $session[1], Origin => 'http://evil.test')->{status}, 401, 'any: the Origin rule holds');
$r = $g->post($d, '/any', '{}', Cookie => $session[1], Origin => 'http://evil.test', @basic);
is("$r->{status} " . user($r), '200 ', 'any: who is let in otherwise is not who the cookie says');

# named locations, error_page, internal redirects
is(user($g->get($d, '/named', @session)), $g->{owner}, 'a named location knows who was let in');
is(status('/named'), 401, 'and is not reached without');
is(user($g->get($d, '/named-auth', @session)), $g->{owner}, 'a named location may ask itself');
is(status('/named-auth'), 401, 'and refuse');
is($g->get($d, '/login-page', Accept => 'text/html', 'Sec-Fetch-Mode' => 'cors')->{status}, 401, 'a program sees the 401 whatever page there is');
is(user($g->get($d, '/twice', @session)), $g->{owner}, 'an internal redirect checks again');
is(user($g->get($d, '/twice', @token)), $g->{owner}, 'a token too');
is($g->calls('auth /_internal/introspect'), 2, 'which was asked about once, and the unknown one');

# subrequests inherit who it is; they decide nothing
$r = $g->get($d, '/asks', @session);
is("$r->{status} " . user($r), "200 $g->{owner}", 'a question to a location of ours');
is($g->calls('public_api /asked'), 1, 'was asked');
is(status('/asks'), 401, 'without a session it is not even asked');
is($g->calls('public_api /asked'), 1, 'not once more');
$r = $g->post($d, '/mirrored', '{"a":1}', @session);
is("$r->{status} " . user($r) . " $r->{json}{body_length}", "200 $g->{owner} 7", 'a mirror');
ok(GitpodGateway::wait_for('the mirror', sub { $g->calls('public_api /mirror') == 1 }), 'sees it too');
is($g->post($d, '/mirrored', '{}')->{status}, 401, 'but nothing of strangers');
is($g->calls('public_api /mirror'), 1, 'not a thing');

# a workspace has no other way in
my $conf = GitpodGateway::slurp("$g->{run}/conf/nginx_workspace.conf") =~ s/^(\s*gitpod_workspace on;)/$1 satisfy any;/mr;
GitpodGateway::spew("$g->{run}/conf/nginx_workspace.conf", $conf);
like(GitpodGateway::check_conf("$g->{run}/conf/nginx.conf"), qr/"gitpod_workspace" needs "satisfy all"/, 'gitpod_workspace does not go with satisfy any');

$g->finish;
