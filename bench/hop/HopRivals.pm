package HopRivals;

# What others make of the same hop: the same page of the same workspace, the
# request let through by a credential, one thread each. Each rival gets its best
# case: it checks a token's signature and nothing else that we check (no
# audience, revocation, owner or route), and the servers that auth_request and
# forward_auth ask say yes at once. Their work is not counted.

use strict;
use warnings;

use GitpodGateway;
use MIME::Base64 qw(encode_base64url);
use Digest::SHA qw(hmac_sha256);

use constant SECRET => 'b' x 32;

my $MODULES = '/usr/lib/nginx/modules';

# Those that are installed; the others are named in @$missing.
sub start {
    my ($g, $address, $token, $missing) = @_;
    my @rivals;
    for my $rival (
        ['auth_request', '/usr/sbin/nginx', \&auth_request],
        ['auth_request, cached', '/usr/sbin/nginx', \&auth_request_cached],
        ['HAProxy, jwt_verify ES256', '/usr/sbin/haproxy', \&haproxy],
        ['Caddy, forward_auth', '/usr/bin/caddy', \&caddy],
        ['Lua, HS256', "$MODULES/ngx_http_lua_module.so", \&lua]) {
        my ($name, $needs, $code) = @$rival;
        if (!-e $needs) {
            push @$missing, $name;
            next;
        }
        push @rivals, { name => $name, $code->($g, $address, $token) };
    }
    for my $rival (@rivals) {
        my $refused = answer($rival, 'none');
        die "$rival->{name} lets everybody in: $refused" if $rival->{checks} && $refused !~ m{^HTTP/1.1 40[13]};
        GitpodGateway::wait_for($rival->{name}, sub { answer($rival, $rival->{token}) =~ m{^HTTP/1.1 200 .*hello from a workspace}s });
        $rival->{pids} = [workers($rival->{pid})];
    }
    return @rivals;
}

sub answer {
    my ($rival, $token) = @_;
    my $text = '';
    GitpodGateway::wait_for("$rival->{name} to listen", sub {
        my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $rival->{port}) or return 0;
        print $s "GET / HTTP/1.1\r\nHost: rival.test\r\nCookie: gp_workspace=$token\r\nConnection: close\r\n\r\n";
        local $/;
        $text = <$s> // '';
        return 1;
    });
    return $text;
}

# The processes that do the work: the children of a master, else itself.
sub workers {
    my ($pid) = @_;
    my @children = map { /(\d+)/ ? $1 : () } `ps -o pid= --ppid $pid`;
    return @children ? @children : $pid;
}

sub run {
    my ($g, $name, @command) = @_;
    return $g->child("$name.log", sub { exec @command or die "$command[0]: $!" });
}

sub nginx {
    my ($g, $name, %text) = @_;
    my $port = GitpodGateway::free_port();
    my $dir = "$g->{dir}/$name";
    mkdir $dir;
    GitpodGateway::spew("$dir/nginx.conf", <<"END");
user root;
worker_processes 1;
pid $dir/nginx.pid;
error_log stderr warn;
@{[ $text{main} // '' ]}
events { worker_connections 1024; }
http {
    access_log $dir/access.log combined buffer=64k flush=1s;
    client_body_temp_path $dir/b1; proxy_temp_path $dir/b2; fastcgi_temp_path $dir/b3; uwsgi_temp_path $dir/b4; scgi_temp_path $dir/b5;
    upstream workspace { server $text{address}:23000; keepalive 128; keepalive_timeout 60s; }
    upstream auth { server $text{address}:23002; keepalive 64; }
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    @{[ $text{http} // '' ]}
    server {
        listen 127.0.0.1:$port;
        keepalive_requests 1000000000;
        location / {
            $text{check}
            proxy_buffering off;
            proxy_pass http://workspace;
        }
        location = /auth {
            internal;
            proxy_pass http://auth;
            proxy_pass_request_body off;
            proxy_set_header Content-Length "";
            @{[ $text{auth} // '' ]}
        }
    }
}
END
    return (port => $port, pid => run($g, $name, '/usr/sbin/nginx', '-e', 'stderr', '-c', "$dir/nginx.conf", '-g', 'daemon off;'));
}

sub auth_request {
    my ($g, $address, $token) = @_;
    return (token => $token, nginx($g, 'auth_request', address => $address, check => 'auth_request /auth;'));
}

sub auth_request_cached {
    my ($g, $address, $token) = @_;
    return (token => $token, nginx($g, 'auth_cached', address => $address, check => 'auth_request /auth;',
        http => "proxy_cache_path $g->{dir}/auth_cache keys_zone=auth:10m;",
        auth => 'proxy_cache auth; proxy_cache_key $cookie_gp_workspace; proxy_cache_valid 200 60s;'));
}

sub haproxy {
    my ($g, $address, $token) = @_;
    my $port = GitpodGateway::free_port();
    my $key = "$g->{dir}/haproxy-key.pem";
    system("openssl ec -in '$g->{key}{file}' -pubout -out '$key' 2>/dev/null") == 0 or die 'openssl';
    GitpodGateway::spew("$g->{dir}/haproxy.cfg", <<"END");
global
    nbthread 1
    maxconn 1024
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    http-reuse always
frontend in
    bind 127.0.0.1:$port
    http-request set-var(txn.token) req.cook(gp_workspace)
    http-request deny deny_status 401 unless { var(txn.token),jwt_verify("ES256","$key") -m int 1 }
    default_backend workspace
backend workspace
    server workspace $address:23000
END
    return (token => $token, checks => 1, port => $port, pid => run($g, 'haproxy', '/usr/sbin/haproxy', '-db', '-f', "$g->{dir}/haproxy.cfg"));
}

sub caddy {
    my ($g, $address, $token) = @_;
    my $port = GitpodGateway::free_port();
    GitpodGateway::spew("$g->{dir}/Caddyfile", <<"END");
{
	admin off
	auto_https off
}
http://:$port {
	bind 127.0.0.1
	forward_auth $address:23002 {
		uri /auth
	}
	reverse_proxy $address:23000
}
END
    my $pid = $g->child('caddy.log', sub {
        @ENV{qw(GOMAXPROCS HOME XDG_DATA_HOME XDG_CONFIG_HOME)} = (1, ($g->{dir}) x 3);
        exec '/usr/bin/caddy', 'run', '--adapter', 'caddyfile', '--config', "$g->{dir}/Caddyfile" or die "caddy: $!";
    });
    return (token => $token, port => $port, pid => $pid);
}

# HS256, the cheapest signature there is, by way of libcrypto.
sub lua {
    my ($g, $address) = @_;
    my @parts = map { encode_base64url($_) } '{"alg":"HS256","typ":"JWT"}', '{"sub":"somebody","exp":' . (int(time) + 3600) . '}';
    my $token = join '.', @parts, encode_base64url(hmac_sha256(join('.', @parts), SECRET));
    GitpodGateway::spew("$g->{dir}/check.lua", <<'END' =~ s/= "SECRET"/'= "' . SECRET . '"'/er);
local ffi = require "ffi"
local json = require "cjson.safe"
ffi.cdef[[
typedef struct evp_md_st EVP_MD;
const EVP_MD *EVP_sha256(void);
unsigned char *HMAC(const EVP_MD *md, const void *key, int key_len, const unsigned char *data, size_t len, unsigned char *out, unsigned int *out_len);
int CRYPTO_memcmp(const void *a, const void *b, size_t len);
]]
local crypto = ffi.load "libcrypto.so.3"
local secret, out, out_len = "SECRET", ffi.new "unsigned char[64]", ffi.new "unsigned int[1]"
local md = crypto.EVP_sha256()
local function decode(text)
    text = text:gsub("-", "+"):gsub("_", "/")
    return ngx.decode_base64(text .. ("="):rep(-#text % 4))
end
return function()
    local head, body, sig = (ngx.var.cookie_gp_workspace or ""):match "^([^.]+)%.([^.]+)%.([^.]+)$"
    local header = head and json.decode(decode(head) or "")
    if not header or header.alg ~= "HS256" then return ngx.exit(401) end
    local text = head .. "." .. body
    crypto.HMAC(md, secret, #secret, text, #text, out, out_len)
    local given = decode(sig)
    if not given or #given ~= 32 or crypto.CRYPTO_memcmp(given, out, 32) ~= 0 then return ngx.exit(401) end
    local claims = json.decode(decode(body) or "")
    if not claims or type(claims.exp) ~= "number" or claims.exp < ngx.time() then return ngx.exit(401) end
end
END
    return (token => $token, checks => 1, nginx($g, 'lua', address => $address, check => 'access_by_lua_block { check() }',
        main => "load_module $MODULES/ndk_http_module.so;\nload_module $MODULES/ngx_http_lua_module.so;",
        http => qq{init_by_lua_block { check = dofile "$g->{dir}/check.lua" }}));
}

1;
