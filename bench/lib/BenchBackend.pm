package BenchBackend;

# What stands for a workspace's editor under load: a plain nginx on port 23000
# of an address.
use strict;
use warnings;
use GitpodGateway;

sub start {
    my ($g, $address) = @_;
    GitpodGateway::spew("$g->{dir}/backend.conf", <<"END");
worker_processes 1;
pid $g->{dir}/backend.pid;
error_log stderr;
events { worker_connections 1024; }
http {
    access_log off;
    client_body_temp_path $g->{dir}/b1; proxy_temp_path $g->{dir}/b2; fastcgi_temp_path $g->{dir}/b3; uwsgi_temp_path $g->{dir}/b4; scgi_temp_path $g->{dir}/b5;
    server { listen $address:23000; keepalive_requests 1000000000; location / { default_type text/plain; return 200 "hello\\n"; } }
}
END
    return $g->child('backend.log', sub { exec '/usr/sbin/nginx', '-e', 'stderr', '-c', "$g->{dir}/backend.conf", '-g', 'daemon off;' });
}

# wrk in the background: its output goes to a file. more: its arguments, the URL last.
sub wrk {
    my ($g, $out, @more) = @_;
    return $g->child('wrk.log', sub { open STDOUT, '>', $out or die "$out: $!"; exec 'wrk', @more });
}

# (requests, failures) of what wrk said.
sub wrk_said {
    my ($out) = @_;
    my $said = GitpodGateway::slurp($out);
    my ($requests) = $said =~ /(\d+) requests in/;
    my $failed = 0;
    $failed += $_ for $said =~ /Non-2xx or 3xx responses: (\d+)/, $said =~ /Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)/;
    return ($requests // 0, $failed);
}

1;
