# Alert rules and the Grafana dashboard: promtool accepts and plays the rules,
# every metric that either names is one of docs/metrics.md.
use strict;
use warnings;
use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Copy qw(copy);
use File::Temp qw(tempdir);
use JSON::PP;
use Test::More;

my $top = abs_path(dirname(__FILE__) . '/../..');
$top = $ENV{TOP} if $ENV{TOP};
my $conf = "$top/conf/observability";

sub slurp { my ($file) = @_; open my $f, '<', $file or die "$file: $!"; local $/; return scalar <$f> }

my $said = `promtool check rules $conf/gateway.rules.yml 2>&1`;
is($? >> 8, 0, 'promtool accepts the rules') or diag($said);
my $dir = tempdir(CLEANUP => 1);
copy("$conf/gateway.rules.yml", $dir) or die $!;
copy("$top/t/service/observability_rules.yml", $dir) or die $!;
$said = `cd $dir && promtool test rules observability_rules.yml 2>&1`;
is($? >> 8, 0, 'each fires when it should, and only then') or diag($said);

my $rules = slurp("$conf/gateway.rules.yml");
my $played = slurp("$top/t/service/observability_rules.yml");
my @alerts = $rules =~ /^ +- alert: (\w+)$/mg;
cmp_ok(scalar @alerts, '>', 5, 'there are alerts');
for my $alert (@alerts) {
    like($played, qr/alertname: $alert, exp_alerts: \[\]/, "$alert is played when all is well");
    like($played, qr/alertname="$alert"/, "and $alert when it is not");
}
is(scalar(() = $rules =~ /^ +cure: /mg), scalar @alerts, 'each says what to do');

my $dashboard = eval { JSON::PP->new->decode(slurp("$conf/grafana-gateway.json")) };
ok($dashboard, 'the dashboard is JSON') or diag($@);
my @panels = grep { $_->{type} ne 'row' } @{ $dashboard->{panels} };
cmp_ok(scalar @panels, '>', 10, 'with panels');
is(scalar(grep { !@{ $_->{targets} } } @panels), 0, 'that all show something');
my %id;
$id{ $_->{id} }++ for @{ $dashboard->{panels} };
is(join(' ', grep { $id{$_} > 1 } keys %id), '', 'and have numbers of their own');

my $page = slurp("$top/docs/metrics.md");
my %known;
$known{$1} = 1 while $page =~ /^\|[^|]*?`(gitpod_\w+)`/mg;
for my $line ($page =~ /^\|([^|]*)\|/mg) { $known{$1} = 1 while $line =~ /`(gitpod_\w+)`/g }
my %used;
for my $text ($rules =~ s/^ +(?:cure|summary): .*//mgr, map { map { $_->{expr} } @{ $_->{targets} } } @panels) {
    $used{ $1 =~ s/_(?:bucket|sum|count)$//r } = 1 while $text =~ /\b(gitpod_\w+)/g;
}
is(join(' ', grep { !$known{$_} } sort keys %used), '', 'every metric they name is documented');

done_testing();
