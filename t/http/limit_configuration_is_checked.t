# Mistakes in gitpod_limit and gitpod_limit_use are found by nginx -t, with a
# text that names the limit and what is wrong.
use strict;
use warnings;
use Test::More;
use GitpodTest;

sub says {
    my ($http) = @_;
    my $t = GitpodTest->new(http => $http);
    my $r = $t->check_conf;
    $t->{stopped} = 1;
    File::Path::remove_tree($t->{dir});
    return $r;
}

my $zone = "gitpod_zone z 1m;\n";
my $use = 'server { gitpod_limit_use';
my %good = (
    'a rate' => 'gitpod_limit a key=address rate=10r/s;',
    'all spellings of a rate' => join(' ', map { "gitpod_limit r$_->[0] key=address rate=$_->[1];" } [1, '10r/s'], [2, '600r/m'], [3, '200/60s'], [4, '3/10s'], [5, '1/h'], [6, '5/1d']),
    'a burst before the rate' => 'gitpod_limit a key=user burst=5 rate=200/60s;',
    'several keys' => 'gitpod_limit a key=user,method,token,address rate=1/s;',
    'methods' => 'gitpod_limit a key=user rate=1/s method=*/A,gitpod.v1.*;',
    'a shared one' => 'gitpod_limit a key=user rate=1/s shared;',
    'failures' => 'gitpod_limit a key=address count=failures rate=1/s;',
    'concurrent requests' => 'gitpod_limit a key=address count=upgrades concurrent=5;',
    'all of it in use' => "gitpod_limit a key=address rate=1/s; gitpod_limit b key=user concurrent=1; $use a b; location /x { gitpod_limit_use off; } }",
    '32 limits' => join('', map { "gitpod_limit l$_ key=address rate=1/s;" } 1 .. 32),
);
for my $what (sort keys %good) {
    my $r = says($zone . $good{$what});
    ok($r->{ok}, "$what: taken") or diag($r->{text});
}

my $a = 'gitpod_limit a';
my @bad = (
    ['no parameter', "$a;", qr/invalid number of arguments/],
    ['a bad name', 'gitpod_limit A-b key=address rate=1/s;', qr/the name of a limit is 1 to 31 characters/],
    ['a name that means something else', 'gitpod_limit off key=address rate=1/s;', qr/not "off"/],
    ['two of one name', "$a key=address rate=1/s; $a key=user rate=1/s;", qr/limit "a" has the name of another one/],
    ['no key', "$a rate=1/s;", qr/limit "a" needs a key/],
    ['a method for a key', "$a key=method rate=1/s;", qr/limit "a" needs a key/],
    ['an unknown key', "$a key=cookie rate=1/s;", qr/"key=cookie" is not a list of address, user, token, method/],
    ['an unknown parameter', "$a key=user rate=1/s nodelay;", qr/"nodelay" is not a parameter/],
    ['an unknown parameter with a value', "$a key=user rate=1/s delay=3;", qr/"delay=3" is not a parameter/],
    ['nothing that limits', "$a key=user burst=3;", qr/needs either a rate or a number of concurrent requests/],
    ['both that limit', "$a key=user rate=1/s concurrent=3;", qr/needs either a rate or/],
    ['a rate without a time', "$a key=user rate=10;", qr/"rate=10" is not a number, a slash and a time/],
    ['a rate of nothing', "$a key=user rate=0/s;", qr/"rate=0\/s" does not begin with a number between 1 and 1000000/],
    ['a rate of letters', "$a key=user rate=x/s;", qr/does not begin with a number/],
    ['a time of nothing', "$a key=user rate=1/0s;", qr/"rate=1\/0s" has no time between 1s and 1d/],
    ['a time that is long', "$a key=user rate=1/2d;", qr/has no time between 1s and 1d/],
    ['a burst that is large', "$a key=user rate=1/s burst=1000001;", qr/"burst=1000001" is not a number between/],
    ['a bucket that never fills', "$a key=user rate=1/1d burst=8;", qr/more than 7 days to refill/],
    ['concurrent ones of all gateways', "$a key=user concurrent=3 shared;", qr/cannot be shared/],
    ['a burst of concurrent requests', "$a key=user concurrent=3 burst=3;", qr/has a burst, which goes with a rate/],
    ['an unknown event', "$a key=address rate=1/s count=cats;", qr/is none of requests, upgrades, failures, unknown, open/],
    ['failures by user', "$a key=user rate=1/s count=failures;", qr/its key is address/],
    ['failures at a time', "$a key=address concurrent=3 count=failures;", qr/it needs a rate/],
    ['methods of upgrades', "$a key=address rate=1/s count=upgrades method=*;", qr/go with count=requests/],
    ['an empty method', "$a key=address rate=1/s method=a,;", qr/is not a list of patterns/],
    ['33 limits', join('', map { "gitpod_limit l$_ key=address rate=1/s;" } 1 .. 33), qr/32 limits are allowed/],
    ['a use of none', "$use a; }", qr/there is no limit "a" before this line/],
    ['a use twice', "$a key=address rate=1/s; $use a; gitpod_limit_use a; }", qr/"gitpod_limit_use" directive is duplicate/],
    ['five concurrent ones in one place', join('', map { "gitpod_limit c$_ key=address concurrent=1;" } 1 .. 5) . "$use c1 c2 c3 c4 c5; }", qr/4 concurrent limits are allowed/],
);
for (@bad) {
    my ($what, $http, $text) = @$_;
    my $r = says($zone . $http);
    ok(!$r->{ok}, "$what: refused");
    like($r->{text}, $text, "$what: and named");
}
my $r = says("$a key=address rate=1/s;");
like($r->{text}, qr/"gitpod_limit" needs "gitpod_zone"/, 'a limit without a zone: refused');

done_testing();
