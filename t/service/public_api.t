#!/usr/bin/perl
# The public_api plugin over its socket; ws_manager and auth are public_api_peers.py.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use IPC::Open2;
use JSON::PP;
use MIME::Base64;
use PluginRun;
use Test::More;
use Time::HiRes qw(sleep time);

my $t = PluginRun->new;
mkdir "$t->{run}/gateway/public_api";
my $peers_socket = "$t->{run}/gateway/public_api/gateway.sock";
my $peers = open2(my $from, my $to, 'python3', "$FindBin::Bin/public_api_peers.py", $peers_socket);
$t->{pid}{peers} = $peers;
is(scalar <$from>, "ready\n", 'the peers are ready');
sub drive { my (%c) = @_; print $to encode_json(\%c), "\n"; $to->flush; return decode_json(scalar <$from>) }
$t->start('public_api');

my ($ann, $bob) = ('11111111-1111-4111-8111-111111111111', '22222222-2222-4222-8222-222222222222');
sub as { my ($user, %more) = @_; return (GITPOD_USER => $user, GITPOD_CREDENTIAL => 'session', GITPOD_CREDENTIAL_ID => 's', %more) }
my $ws = 'gitpod.v1.WorkspaceService';
sub rpc { my ($method, $m, %p) = @_; return $t->rpc('public_api', $method =~ /\// ? $method : "$ws/$method", $m // {}, %p ? %p : as($ann)) }
sub refused {
    my ($method, $m, $status, $text, $name, %p) = @_;
    my ($d, $s) = rpc($method, $m, %p);
    ok($s == $status && ($d->{message} // '') =~ $text, $name) or diag("$s $d->{code} $d->{message}");
}

is($t->http('public_api', 'GET', '/health')->{status}, 200, 'healthy');

# ---- who may ----
for my $m (qw(GetWorkspace ListWorkspaces CreateAndStartWorkspace ParseContextURL GetWorkspaceEditorCredentials), 'gitpod.v1.UserService/GetAuthenticatedUser', 'gitpod.extension.v1.GitTokenService/ListGitTokens') {
    refused($m, {}, 401, qr/sign in/, "$m: anonymous is unauthenticated", GITPOD_CREDENTIAL => 'none');
}
my @token = (GITPOD_USER => $ann, GITPOD_CREDENTIAL => 'token');
refused('ListWorkspaces', {}, 403, qr/scope/, 'a token with some scopes is not enough', @token, GITPOD_SCOPES => 'function:getWorkspace function:*x');
is((rpc('ListWorkspaces', {}, @token, GITPOD_SCOPES => 'function:* resource:default'))[1], 200, 'one with all is');
is((rpc('ListWorkspaces', {}, @token, GITPOD_SCOPES => '*'))[1], 200, 'in both forms');
my ($me) = rpc('gitpod.v1.UserService/GetAuthenticatedUser');
is($me->{user}{id}, $ann, 'GetAuthenticatedUser');
is_deeply($me->{user}{rolesOrPermissions}, ['ROLE_OR_PERMISSION_ADMIN'], 'with the role');
like($me->{user}{organizationId}, qr/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/, 'and an organization');

# ---- create ----
my $url = 'https://github.com/acme/app/tree/feature/x';
my ($made, $status) = rpc('CreateAndStartWorkspace', { contextUrl => { url => $url, workspaceClass => 'default', editor => { name => 'code', version => 'latest' } } });
is($status, 200, 'CreateAndStartWorkspace') or diag(encode_json($made));
my $w = $made->{workspace};
my $last = drive(do => 'last')->{last};
is_deeply($last->{git}, [ 'https://github.com/acme/app.git', 5, 'feature/x', 'app' ], 'ws_manager gets remote, mode, target, checkout');
is_deeply([ @$last{qw(1 3 4 6 7 8 9 10 12 13)} ], [ $ann, 'acme/app', $url, 'acme', 'app', 'default', 'code', 'latest', 'admin', 'a@example.com' ], 'and all the rest');
is($w->{metadata}{name}, 'acme/app', 'the name');
is($w->{metadata}{ownerId}, $ann, 'the owner');
is($w->{metadata}{organizationId}, $me->{user}{organizationId}, 'the organization');
is($w->{metadata}{originalContextUrl}, $url, 'the context URL');
is($w->{status}{phase}{name}, 'PHASE_PREPARING', 'the phase');
is($w->{status}{statusVersion}, '1', 'the version, as a string');
is($w->{status}{workspaceUrl}, "http://$w->{id}.ws-gp.test:8080/", 'the URL');
is($w->{spec}{initializer}{specs}[0]{git}{remoteUri}, 'https://github.com/acme/app.git', 'the initializer');
is($w->{spec}{class}, 'default', 'the class');
is($w->{spec}{editor}{name}, 'code', 'the editor');
my %maintenance = as($ann, GITPOD_FLAGS => 'x maintenance y');
refused('CreateAndStartWorkspace', { contextUrl => { url => $url } }, 503, qr/flag "maintenance"/, 'the flag maintenance stops new workspaces', %maintenance);
refused('StartWorkspace', { workspaceId => $w->{id} }, 503, qr/flag "maintenance"/, 'and starts of old ones', %maintenance);
is((rpc('GetWorkspace', { workspaceId => $w->{id} }, %maintenance))[1], 200, 'and nothing else');
is((rpc('StartWorkspace', { workspaceId => $w->{id} }, as($ann, GITPOD_FLAGS => 'maintenance_x xmaintenance')))[1], 200, 'other names are other flags');
my %key = (contextUrl => { url => $url }, metadata => { annotations => { 'idempotency-key' => 'k1' }, name => 'mine' });
my $one = (rpc('CreateAndStartWorkspace', \%key))[0]{workspace}{id};
is((rpc('CreateAndStartWorkspace', \%key))[0]{workspace}{id}, $one, 'the same annotation, the same workspace');
isnt((rpc('CreateAndStartWorkspace', { contextUrl => { url => $url } }))[0]{workspace}{id}, $one, 'none: another one');
my $by_header = (rpc('CreateAndStartWorkspace', { contextUrl => { url => $url } }, as($ann, HTTP_IDEMPOTENCY_KEY => 'k2')))[0]{workspace}{id};
is((rpc('CreateAndStartWorkspace', { contextUrl => { url => $url } }, as($ann, HTTP_IDEMPOTENCY_KEY => 'k2')))[0]{workspace}{id}, $by_header, 'the header does it too');
my $bobs = (rpc('CreateAndStartWorkspace', { contextUrl => { url => $url } }, as($bob, HTTP_IDEMPOTENCY_KEY => 'k2')))[0]{workspace}{id};
isnt($bobs, $by_header, 'another person\'s key is another key');
refused('CreateAndStartWorkspace', {}, 400, qr/context_url/, 'no source');
refused('CreateAndStartWorkspace', { contextUrl => {} }, 400, qr/URL/, 'no URL');
refused('CreateAndStartWorkspace', { spec => {} }, 404, qr/context_url/, 'source spec is not implemented');
refused('CreateAndStartWorkspace', { contextUrl => { url => 'file:///etc' } }, 400, qr/file:/, 'file:// is off');
refused('CreateAndStartWorkspace', { contextUrl => { url => $url }, metadata => { name => "a\nb" } }, 400, qr/metadata\.name/, 'a name with a line break');
refused('CreateAndStartWorkspace', { contextUrl => { url => $url }, metadata => { organizationId => 'x' } }, 400, qr/organization_id/, 'a malformed organization');
refused('CreateAndStartWorkspace', { contextUrl => { url => $url }, metadata => { organizationId => $bob } }, 404, qr/organization/, 'somebody else\'s');
my ($parsed) = rpc('ParseContextURL', { contextUrl => 'https://gitlab.com/g/s/r/-/merge_requests/3' });
is($parsed->{spec}{initializer}{specs}[0]{git}{cloneTarget}, 'refs/merge-requests/3/head', 'ParseContextURL');
is($parsed->{metadata}{name}, 's/r', '  with a name');
is((rpc('ParseContextURL', { contextUrl => 'http://127.0.0.1:1234/none.git' }))[0]{metadata}{name}, 'none', '  which has nothing of an address');

# ---- the other methods ----
is((rpc('GetWorkspace', { workspaceId => $w->{id} }))[0]{workspace}{id}, $w->{id}, 'GetWorkspace');
refused('GetWorkspace', { workspaceId => $w->{id} }, 404, qr/no workspace/, 'somebody else\'s is not found', as($bob));
refused($_, { workspaceId => '../../etc' }, 400, qr/workspace_id/, "$_: a malformed id") for qw(GetWorkspace StartWorkspace StopWorkspace DeleteWorkspace UpdateWorkspace SendHeartBeat GetWorkspaceOwnerToken);
refused($_, {}, 400, qr/workspace_id/, "$_: no id") for qw(GetWorkspace StartWorkspace);
is((rpc('StartWorkspace', { workspaceId => $w->{id} }))[0]{workspace}{id}, $w->{id}, 'StartWorkspace');
is((rpc('StopWorkspace', { workspaceId => $w->{id} }))[1], 200, 'StopWorkspace');
refused('SendHeartBeat', { workspaceId => $w->{id} }, 412, qr/running/, 'SendHeartBeat of one that does not run');
is((rpc('GetWorkspaceOwnerToken', { workspaceId => $w->{id} }))[0]{ownerToken}, 'o' x 32, 'GetWorkspaceOwnerToken');
is((rpc('ListWorkspaceClasses'))[0]{workspaceClasses}[0]{isDefault}, JSON::PP::true, 'ListWorkspaceClasses');
my ($u) = rpc('UpdateWorkspace', { workspaceId => $w->{id}, metadata => { name => 'new name', pinned => JSON::PP::true } });
is_deeply([ @{ $u->{workspace}{metadata} }{qw(name pinned)} ], [ 'new name', JSON::PP::true ], 'UpdateWorkspace: name and pinned');
($u) = rpc('UpdateWorkspace', { workspaceId => $w->{id}, metadata => { pinned => JSON::PP::false } });
is_deeply([ $u->{workspace}{metadata}{name}, $u->{workspace}{metadata}{pinned} // JSON::PP::false ], [ 'new name', JSON::PP::false ], '  only what is present');
refused('UpdateWorkspace', { workspaceId => $w->{id}, metadata => { name => '' } }, 400, qr/metadata\.name/, '  an empty name');
refused('UpdateWorkspace', { workspaceId => $w->{id}, metadata => { name => 'x' x 256 } }, 400, qr/255/, '  a long one');
refused('UpdateWorkspace', { workspaceId => $w->{id}, spec => { admission => 'ADMISSION_LEVEL_EVERYONE' } }, 404, qr/spec/, '  sharing is not implemented');
my ($everyone, $owner_only) = qw(ADMISSION_LEVEL_EVERYONE ADMISSION_LEVEL_OWNER_ONLY);
sub port { my (%m) = @_; return rpc('UpdateWorkspacePort', { workspaceId => $w->{id}, %m }) }
sub ports { return (rpc('GetWorkspace', { workspaceId => $w->{id} }))[0]{workspace}{spec}{ports} }
my ($empty, $port_status) = port(port => '3000', admission => $everyone);
is_deeply([ $empty, $port_status ], [ {}, 200 ], 'UpdateWorkspacePort');
my %public = (port => '3000', admission => $everyone, url => "http://3000-$w->{id}.ws-gp.test:8080/", protocol => 'PROTOCOL_HTTP');
is_deeply(ports(), [ \%public ], '  GetWorkspace lists it, with its URL');
port(port => '3000', protocol => 'PROTOCOL_HTTPS');
is_deeply(ports(), [ { %public, protocol => 'PROTOCOL_HTTPS' } ], '  what is not named stays');
port(port => '3000', admission => $owner_only, protocol => 'PROTOCOL_GRPC');
is_deeply(ports(), [ { %public, admission => $owner_only, protocol => 'PROTOCOL_GRPC' } ], '  both at once');
refused('UpdateWorkspacePort', { workspaceId => $w->{id}, port => $_, admission => $everyone }, 400, qr/port: must be 1 to 65535/, "  port $_") for 0, 65536, '4294970296';
refused('UpdateWorkspacePort', { workspaceId => $w->{id}, port => 3000 }, 400, qr/admission, protocol: one of them/, '  neither');
refused('UpdateWorkspacePort', { workspaceId => $w->{id}, port => 3000, admission => 'ADMISSION_LEVEL_UNSPECIFIED' }, 400, qr/one of them/, '  unspecified is none');
refused('UpdateWorkspacePort', { workspaceId => $w->{id}, port => 3000, admission => 7 }, 400, qr/admission: must be/, '  an unknown admission');
refused('UpdateWorkspacePort', { workspaceId => $w->{id}, port => 3000, protocol => 7 }, 400, qr/protocol: must be/, '  an unknown protocol');
refused('UpdateWorkspacePort', { workspaceId => $w->{id}, port => 3000, admission => $everyone }, 404, qr/no workspace/, '  of somebody else\'s', as($bob));
refused('UpdateWorkspacePort', { workspaceId => $w->{id}, port => 3000, admission => $everyone }, 401, qr/sign in/, '  of anybody', GITPOD_CREDENTIAL => 'none');
refused('CreateWorkspaceSnapshot', { workspaceId => $w->{id} }, 404, qr/not in this version/, 'what is not implemented says so');
refused('WatchNothing', {}, 404, qr/./, 'an unknown method');

# ---- git tokens ----
my $gt = 'gitpod.extension.v1.GitTokenService';
is((rpc("$gt/SetGitToken", { host => 'a.example.com', value => 's3cret' }))[0]{token}{username}, 'oauth2', 'SetGitToken');
is((rpc("$gt/ListGitTokens"))[0]{tokens}[0]{host}, 'a.example.com', 'ListGitTokens');
is_deeply((rpc("$gt/ListGitTokens", {}, as($bob)))[0]{tokens} // [], [], '  one\'s own only');
is((rpc("$gt/DeleteGitToken", { host => 'a.example.com' }))[1], 200, 'DeleteGitToken');
refused("$gt/DeleteGitToken", { host => 'a.example.com' }, 404, qr/no git token/, '  once');

# ---- pages ----
rpc('CreateAndStartWorkspace', { contextUrl => { url => $url } }, as($bob)) for 1 .. 6;
my ($page, @ids);
my $pagination = { pageSize => 3 };
do {
    ($page) = rpc('ListWorkspaces', { pagination => $pagination }, as($bob));
    push @ids, map { $_->{id} } @{ $page->{workspaces} };
    $pagination = { pageSize => 3, token => $page->{pagination}{nextToken} // '' };
} while ($pagination->{token} ne '' && @ids < 50);
is(scalar(@ids), 7, 'three pages have all');
is(scalar(keys %{ { map { $_ => 1 } @ids } }), 7, '  none twice');
is($page->{pagination}{total}, 7, '  and the total');
is(decode_base64((rpc('ListWorkspaces', { pagination => { pageSize => 3 } }, as($bob)))[0]{pagination}{nextToken}), '{"offset":3}', 'the token is base64 of JSON');
refused('ListWorkspaces', { pagination => { token => $_ } }, 400, qr/pagination\.token/, "the token '$_' is refused")
    for 'x', '!!!!', encode_base64('{"offset":-1}', ''), encode_base64('{"offset":1,"x":2}', ''), encode_base64('{"offset":99999999999}', ''), 'A' x 400;
refused('ListWorkspaces', { pagination => { pageSize => -1 } }, 400, qr/page_size/, 'a negative page size');
refused('ListWorkspaces', { organizationId => 'x' }, 400, qr/organization_id/, 'a malformed organization');
is(scalar @{ (rpc('ListWorkspaces', { searchTerm => 'new na' }))[0]{workspaces} }, 1, 'search');

# ---- streams ----
package Stream {
    sub open {
        my ($class, $message, %param) = @_;
        my $self = bless { fcgi => FastCgi->connect($t->socket('public_api')), buf => '', head => '' }, $class;
        my $body = JSON::PP::encode_json($message);
        $self->{fcgi}->send_raw($self->{fcgi}->request_bytes({ REQUEST_METHOD => 'POST', GITPOD_PATH => "/$ws/WatchWorkspaceStatus", CONTENT_TYPE => 'application/connect+json', %param },
            pack('CN', 0, length $body) . $body));
        return $self;
    }
    # The next message, { end => {...} } for the last one, undef when nothing comes within the time.
    sub next {
        my ($self, $seconds) = @_;
        local $FastCgi::DEADLINE = $seconds // 5;
        while (1) {
            if ($self->{head} && length $self->{buf} >= 5) {
                my ($flags, $len) = unpack 'CN', $self->{buf};
                if (length $self->{buf} >= 5 + $len) {
                    my $m = JSON::PP::decode_json(substr $self->{buf}, 5, $len);
                    substr($self->{buf}, 0, 5 + $len) = '';
                    return $flags & 2 ? { end => $m } : $m;
                }
            }
            my $record = eval { $self->{fcgi}->next_record } or return;
            next if $record->[0] != 6;
            $self->{buf} .= $record->[2];
            $self->{head} = 1 if !$self->{head} && $self->{buf} =~ s/\A.*?\r\n\r\n//s;
        }
    }
}
my $id = $w->{id};
my $all = Stream->open({}, as($ann));
is_deeply($all->next, {}, 'of all: an empty message first');
my $of_one = Stream->open({ workspaceId => $id }, as($ann));
is($of_one->next->{status}{phase}{name}, 'PHASE_PREPARING', 'of one: the present status first');
my $bob_all = Stream->open({}, as($bob));
is_deeply($bob_all->next, {}, 'another person watches too');
$t->wait_for(5, sub { drive(do => 'last')->{watchers} == 1 });
is(drive(do => 'last')->{watchers}, 1, 'all of them share one stream of ws_manager');
drive(do => 'change', id => $id, phase => 5, step => 'Cloning the repository', detail => 'Receiving objects: 43 %', percent => 43);
my $m = $of_one->next;
is($m->{status}{phase}{name}, 'PHASE_INITIALIZING', 'a change arrives');
is_deeply([ @{ $m->{status}{progress} }{qw(step detail percent)} ], [ 'Cloning the repository', 'Receiving objects: 43 %', 43 ], '  with its progress');
is($all->next->{workspaceId}, $id, '  at both of its watchers');
is($bob_all->next(0.3), undef, '  and at nobody else\'s');
drive(do => 'change', id => $id, phase => 10, failed => 'it broke', failed_reason => 1);
$m = $of_one->next;
is_deeply([ @{ $m->{status}{conditions} }{qw(failed failedReason)} ], [ 'it broke', 'FAILED_REASON_CONTENT_INITIALIZATION_FAILED' ], 'a failure is told');
$all->next;
refused('WatchWorkspaceStatus', {}, 415, qr/content type/, 'unary content is refused');
is(Stream->open({ workspaceId => $id }, as($bob))->next->{end}{error}{code}, 'not_found', 'somebody else\'s: not found');
is(Stream->open({ workspaceId => '../x' }, as($ann))->next->{end}{error}{code}, 'invalid_argument', 'a malformed id');
is(Stream->open({}, GITPOD_CREDENTIAL => 'none')->next->{end}{error}{code}, 'unauthenticated', 'anonymous');

# ws_manager restarts: what changed meanwhile comes, the rest does not; what vanished is noticed.
my $two = $one;
my $watch_two = Stream->open({ workspaceId => $two }, as($ann));
$watch_two->next;
drive(do => 'hold', on => JSON::PP::true);
drive(do => 'break');
drive(do => 'change', id => $id, phase => 6, failed => '', failed_reason => 0);
drive(do => 'vanish', id => $two);
drive(do => 'hold', on => JSON::PP::false);
is($of_one->next(10)->{status}{phase}{name}, 'PHASE_RUNNING', 'after a restart of ws_manager the change comes');
is($watch_two->next(5)->{status}{phase}{name} // 'none', 'none', 'one that vanished has no phase');
is($watch_two->next(5)->{end}{error}{code}, 'not_found', '  and its stream ends');
my %seen = map { my $x = $all->next(2); $x ? ($x->{workspaceId} => 1) : () } 1 .. 2;
is_deeply([ sort keys %seen ], [ sort $id, $two ], 'the watcher of all hears of both');
is($all->next(0.5), undef, '  and of nothing that is as it was');
is((rpc('SendHeartBeat', { workspaceId => $id }))[1], 200, 'SendHeartBeat of one that runs');

# A deleted workspace.
is((rpc('DeleteWorkspace', { workspaceId => $id }))[1], 200, 'DeleteWorkspace');
is($of_one->next->{status}{phase}{name} // 'none', 'none', 'its watcher is told');
is($of_one->next->{end}{error}{code}, 'not_found', '  and its stream ends');

# A reader that does not read is ended; others go on.
my $slow = Stream->open({}, as($bob));
$slow->next;
drive(do => 'flood', id => $bobs, n => 2000, size => 4000);
ok($t->wait_for(20, sub { $t->http('public_api', 'GET', '/metrics')->{body} =~ /^gitpod_public_api_watchers 1$/m }), 'slow readers are ended') or diag($t->http('public_api', 'GET', '/metrics')->{body} =~ /(gitpod_public_api_watchers .*)/);
my $end;
while (my $x = $slow->next(2)) { $end = $x->{end} and last }
is($end->{error}{code}, 'resource_exhausted', '  with resource_exhausted');
undef $bob_all;

# A client that goes away is forgotten.
$all->{fcgi}->close;
ok($t->wait_for(5, sub { $t->http('public_api', 'GET', '/metrics')->{body} =~ /^gitpod_public_api_watchers 0$/m }), 'a client that goes away is forgotten');

# Limits of streams.
my @many = map { my $s = Stream->open({}, as($ann)); $s->next; $s } 1 .. 64;
# (A stream is counted after its first message.)
ok($t->wait_for(5, sub { $t->http('public_api', 'GET', '/metrics')->{body} =~ /^gitpod_public_api_watchers 64$/m }), '64 streams of one person');
my $over = Stream->open({}, as($ann));
$over->next;
is($over->next->{end}{error}{code}, 'resource_exhausted', 'one stream too many');
@many = ();

# ws_manager away: errors, no hangs; a stop is quick.
my $began = time;
kill 'KILL', $peers;
waitpid $peers, 0;
delete $t->{pid}{peers};
my $gone = Stream->open({}, as($bob));
is_deeply($gone->next, {}, 'a stream of all is taken');
is($t->stop('public_api'), 0, 'it ends on SIGTERM');
cmp_ok(time - $began, '<', 10, '  soon');
is($gone->next->{end}{error}{code}, 'unavailable', '  and tells its streams');
done_testing();
