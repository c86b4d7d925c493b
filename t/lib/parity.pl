#!/usr/bin/perl
# Code and its documentation name the same things: directives and variables of
# the module, calls and metrics of the services, commands and environment of
# build.sh. Prints what is missing where.

use strict;
use warnings;

my $faults = 0;

sub fault { print "$_[0]\n"; $faults++ }

sub slurp {
    my $text = '';
    for my $file (@_) {
        open my $f, '<', $file or next;
        local $/;
        $text .= <$f>;
    }
    return $text;
}

# ---- the module: docs/directives.md, and a test below t/http ----

my $module = slurp(glob 'ngx_gitpod_module/*/*.c');
my $page = slurp('docs/directives.md');
my $tests = slurp(glob 't/http/*.t');
# What the harnesses of those tests run: GitpodGateway.pm the templates as they are, GitpodRoutes.pm its own text.
my $harness = slurp(glob('conf/nginx/*.in'), 't/lib/GitpodRoutes.pm');

my (%directive, %variable);
$directive{$1} = 1 while $module =~ /\{ ngx_string\("(gitpod_\w+)"\),\s*NGX_/g;
$variable{$1} = 1 while $module =~ /\{ ngx_string\("(gitpod_\w+)"\),\s*NULL,/g;
die "no directives found: is this the top directory?\n" if !%directive || !%variable;

for my $name (sort keys %directive) {
    my ($section) = $page =~ /^### $name\n(.*?)(?=^##|\z)/ms;
    fault("docs/directives.md: no heading '### $name'") if !defined $section;
    for my $word (qw(Syntax Default Context Since)) {
        fault("docs/directives.md: $name has no line '$word:'") if defined $section && $section !~ /^    $word: /m;
    }
    fault("t/http: no test names $name") if $tests !~ /\b$name\b/ && $harness !~ /^\s*$name\b/m;
}
for my $name (sort keys %variable) {
    # a prefix: whatever follows its last "_" is the flag, header or the like
    my ($row, $use) = $name =~ /_$/ ? ("$name<name>", qr/\$$name[a-z]/) : ($name, qr/\$$name\b/);
    fault("docs/directives.md: no row names \$$row") if $page !~ /^\|[^|]*`\$$row`/m;
    fault("t/http: no test names \$$row") if $tests !~ $use && $harness !~ $use;
}
for my $name ($page =~ /^### (gitpod_\w+)$/mg) {
    fault("docs/directives.md: there is no directive $name") if !$directive{$name};
}

my $metrics = slurp('docs/metrics.md');
my %family;
$family{$1} = 1 while $module =~ /"(?:# (?:HELP|TYPE) )?(gitpod_[a-z_]+?(?:_total|_seconds|_max|_bytes)|gitpod_(?:routes|revocations|credential_cache|keys|workers|check)(?:_synced)?)[" ]/g;
for my $name (sort keys %family) {
    fault("docs/metrics.md: no row names $name") if $metrics !~ /^\|[^|]*`$name`/m;
}
for my $name ($metrics =~ /`(gitpod_[a-z_]+_total)`/g) {
    fault("docs/metrics.md: there is no metric $name") if !$family{$name};
}

# ---- services: docs/services/NAME.md ----

for my $main (glob 'plugins/*/main.c') {
    my ($service) = $main =~ m{^plugins/(\w+)/};
    my $doc = "docs/services/$service.md";
    my $text = slurp($doc);
    fault("$doc: is missing") if $text eq '';
    my $source = slurp(glob "plugins/$service/*.c");
    my %call = map { $_ => 1 } slurp("proto/gitpod/internal/v1/$service.proto") =~ /^\s*rpc (\w+)\(/mg;
    $call{$_} = 1 for $source =~ /(?:PUB_\w+\(|_descriptor, )"([A-Z]\w+)", (?!pub_unimplemented)/g;
    for my $name (sort keys %call) { fault("$doc: does not name the call $name") if $text !~ /`$name`/ }
    my %metric = map { $_ => 1 } $source =~ /gp_metric_\w+\([^;]*?"(gitpod_\w+)"/g;
    for my $name (sort keys %metric) { fault("$doc: does not name the metric $name") if $text !~ /`$name/ }
}
my %common = map { $_ => 1 } slurp('plugins/lib/rpc/metric.c') =~ /"(gitpod_service_\w+)"/g;
my $all = slurp('docs/services/README.md');
for my $name (sort keys %common) { fault("docs/services/README.md: does not name the metric $name") if $all !~ /`$name/ }

# ---- build.sh: --help, the man page, the completion ----

my ($help, $environment) = slurp('build.sh') =~ /^Usage:(.*?)^Environment(.*?)^X$/ms or die "build.sh has no help\n";
my $man = slurp('docs/man/gitpod.8');
my ($completion) = slurp('conf/completion/gitpod.bash') =~ /names='(.*?)'/;
for my $name ($help =~ /^  ([a-z][a-z-]*) /mg) {
    fault("docs/man/gitpod.8: does not explain $name") if $man !~ /^\.It Cm \Q$name\E\b/m;
    fault("conf/completion/gitpod.bash: does not complete $name") if $completion !~ /(?<!\S)\Q$name\E(?!\S)/;
}
for my $name ($environment =~ /\b(?<!\$)(GITPOD_[A-Z_]+)/g) {
    fault("docs/man/gitpod.8: does not name $name") if $man !~ /\b$name\b/;
    fault("docs/configuration.md: does not name $name") if slurp('docs/configuration.md') !~ /`$name`/;
}

exit($faults ? 1 : 0);
