#!/usr/bin/perl
# content over its socket: what a clone leaves, what it says, what it keeps, what it removes.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use ContentService;
use JSON::PP ();
use Test::More;
use Time::HiRes qw(sleep time);

my $c = ContentService->new;
my $dir = $c->{dir};

sub sh {
    my ($command) = @_;
    my $out = qx(cd "$dir" && export HOME="$dir" GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a\@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a\@b && $command 2>&1);
    die "$command: $out" if $?;
    chomp $out;
    return $out;
}

sub wait_for {
    my ($fn) = @_;
    my $end = time + 15;
    until ($fn->()) { return 0 if time > $end; sleep 0.02 }
    return 1;
}

sub owner { my @st = lstat $_[0]; return sprintf '%d:%d %o', $st[4], $st[5], $st[2] & 07777 }
sub files { my ($path) = @_; return join ' ', sort split /\n/, sh("ls -A $path") }

sub bare { # NAME SCRIPT: a bare repository from a work tree that the script fills
    my ($name, $script) = @_;
    sh("rm -rf work && git init -q -b main work && cd work && { $script
} && cd .. && git clone -q --bare work git/$name.git && rm -rf work");
}

bare('site', <<'SH');
printf 'hello\n' > a.txt
printf 'image: debian\ntasks:\n  - init: make\n    prebuild: x\nports:\n  - port: 3000\n    visibility: public\n  - port: 8443\n    protocol: https\n  - port: 80\n  - port: 22000-22010\n    visibility: public\n' > .gitpod.yml
git add . && git commit -qm one && git tag v1.0
printf 'more\n' >> a.txt && git commit -qam two
git checkout -q -b feature/x && printf 'x\n' > x.txt && git add . && git commit -qm three && git checkout -q main
SH
my $one = sh('git -C git/site.git rev-parse v1.0');
my $two = sh('git -C git/site.git rev-parse main');
my $user = $ContentService::BASE + 33333;

subtest 'a clone' => sub {
    my $r = $c->init(id => 'site-one', instance => '00000000-0000-4000-8000-0000000000aa');
    is($r->{error}, undef, 'ends well') or diag explain $r, $c->log;
    is($r->{messages}[0]{step}, 'STEP_CONNECTING', 'the first message comes before the clone');
    is($r->{messages}[-1]{step}, 'STEP_DONE', 'the last one says done');
    is($r->{result}{source}, 'from-other', 'it is a fresh one');
    is($r->{result}{location}, '/workspace/site', 'its place in the container is told');
    is($r->{result}{commit}, $two, 'and the commit');
    is($r->{result}{branch}, 'main', 'and the branch');
    my $w = join "\n", @{ $r->{result}{warnings} };
    like($w, qr/line 1: `image: debian` is not supported yet/, 'keys without effect are named with their line');
    like($w, qr/`ports\[3\].visibility` and `protocol` have no effect on a range/, 'in lists too');
    is_deeply($r->{result}{ports}, [ { port => 3000, visible => JSON::PP::true, protocol => 'http' }, { port => 8443, protocol => 'https' } ], 'ports that are not as others are are told');
    like($w, qr/`tasks\[0\].prebuild: x`/, 'and in tasks');
    my $p = $c->place('site-one');
    is(owner($p), sprintf('%d:%d 700', $ContentService::BASE, $user), 'its directory is for the root of the user namespace only');
    is(owner("$p/workspace"), "$user:$user 755", 'the work belongs to the workspace user');
    is(owner("$p/workspace/site/a.txt"), "$user:$user 644", 'the files too');
    is(files($p), 'handed-out.json workspace', 'nothing of the clone is left beside it');
    is(files("$p/workspace"), 'site', 'nor in it');
    ok(!-e "$p/workspace/site/.git/hooks", 'no hook came from anywhere');
    is(sh("grep -c . $p/workspace/site/.git/shallow"), 1, 'it is shallow');
    like(sh("cat $p/workspace/site/.git/config"), qr{\+refs/heads/\*:refs/remotes/origin/\*}, 'fetch gets all branches');
};

subtest 'a second start' => sub {
    my $p = $c->place('site-one');
    sh("printf mine > $p/workspace/site/new.txt && chown $user:$user $p/workspace/site/new.txt");
    my $same = $c->init(id => 'site-one', instance => '00000000-0000-4000-8000-0000000000aa');
    is($same->{result}{source}, 'from-other', 'the same instance is told the same again');
    my $r = $c->init(id => 'site-one');
    is($r->{result}{source}, 'from-backup', 'another instance finds the work');
    is($r->{result}{branch}, 'main', 'with its branch');
    like("@{ $r->{result}{warnings} }", qr/image/, 'and the warnings');
    is(sh("cat $p/workspace/site/new.txt"), 'mine', 'nothing was touched');
    sh("rm -rf $p/workspace/site && ln -s /etc $p/workspace/site");
    is($c->init(id => 'site-one')->{result}{source}, 'from-backup', 'whatever the person left there');
    is(readlink "$p/workspace/site", '/etc', 'it stays');
};

subtest 'targets' => sub {
    my %t = (
        'a branch' => [ { targetMode => 'TARGET_MODE_REMOTE_BRANCH', cloneTarget => 'feature/x' }, 'feature/x', 'x.txt' ],
        'a tag' => [ { targetMode => 'TARGET_MODE_REMOTE_BRANCH', cloneTarget => 'v1.0' }, '', 'a.txt' ],
        'a commit' => [ { targetMode => 'TARGET_MODE_REMOTE_COMMIT', cloneTarget => $one }, '', 'a.txt' ],
        'a short commit' => [ { targetMode => 'TARGET_MODE_REMOTE_COMMIT', cloneTarget => substr($one, 0, 9) }, '', 'a.txt' ],
        'a new branch' => [ { targetMode => 'TARGET_MODE_LOCAL_BRANCH', cloneTarget => 'mine' }, 'mine', 'a.txt' ],
        'a ref with slashes and a path' => [ { targetMode => 'TARGET_MODE_REMOTE_REF', cloneTarget => 'feature/x/src/main.c' }, 'feature/x', 'x.txt' ],
        'a ref that is a commit' => [ { targetMode => 'TARGET_MODE_REMOTE_REF', cloneTarget => "$one/README.md" }, '', 'a.txt' ],
        'a full clone' => [ { fullClone => \1, checkoutLocation => 'deep/er/site' }, 'main', 'a.txt' ],
    );
    for my $name (sort keys %t) {
        my ($git, $branch, $file) = @{ $t{$name} };
        my $request = $c->request(git => $git);
        my $r = $c->finish($c->begin($request));
        is($r->{error}, undef, "$name is cloned") or diag explain $r->{error};
        is($r->{result}{branch} // '', $branch, "$name: the branch is right");
        my $at = $c->place($request->{workspaceId}) . '/workspace/' . ($git->{checkoutLocation} // 'site');
        ok(-f "$at/$file", "$name: the files are there");
        is($r->{result}{commit}, $one, "$name: the commit is right") if $git->{cloneTarget} && $git->{cloneTarget} =~ /^v1|^$one|^@{[substr $one, 0, 9]}/;
    }
};

subtest 'what cannot be cloned' => sub {
    my $url = sub { return { git => { remoteUri => $_[0] } } };
    my $closed = do { my $s = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1'); $s->sockport };
    my @t = (
        [ 'a branch that does not exist', { git => { targetMode => 'TARGET_MODE_REMOTE_BRANCH', cloneTarget => 'nope' } }, 'not_found', qr/branch, tag or commit 'nope'/ ],
        [ 'a ref that does not exist', { git => { targetMode => 'TARGET_MODE_REMOTE_REF', cloneTarget => 'no/pe' } }, 'not_found', qr{'no/pe'} ],
        [ 'a commit that does not exist', { git => { targetMode => 'TARGET_MODE_REMOTE_COMMIT', cloneTarget => '0' x 39 . '1' } }, 'not_found', qr/commit '0/ ],
        [ 'a repository that does not exist', $url->($c->url('nope.git')), 'not_found', qr/does not exist.*Git tokens/ ],
        [ 'a private repository without a token', $url->($c->url('private/site.git')), 'permission_denied', qr/add a token for host @{[$c->host]} in Settings, Git tokens/ ],
        [ 'a host that does not exist', $url->('http://no-such-host.invalid/x.git'), 'unavailable', qr/no-such-host.invalid is not known/ ],
        [ 'a port that is closed', $url->("http://127.0.0.1:$closed/x.git"), 'unavailable', qr/does not answer/ ],
        [ 'a file URL', $url->("file://$dir/git/site.git"), 'permission_denied', qr/GITPOD_ALLOW_FILE_URLS/ ],
        [ 'ssh', $url->('ssh://git@example.com/x'), 'invalid_argument', qr/remote_uri.*not supported/ ],
        [ 'a helper of git', $url->('ext::sh -c id'), 'invalid_argument', qr/remote_uri/ ],
        [ 'no URL', $url->('--upload-pack=id'), 'invalid_argument', qr/remote_uri/ ],
        [ 'credentials in the URL', $url->('https://ada:secret@example.com/x.git'), 'invalid_argument', qr/carries credentials/ ],
        [ 'a branch that is an option', { git => { targetMode => 'TARGET_MODE_REMOTE_BRANCH', cloneTarget => '--upload-pack=id' } }, 'invalid_argument', qr/clone_target/ ],
        [ 'a checkout above /workspace', { git => { checkoutLocation => '../../etc' } }, 'invalid_argument', qr/checkout_location/ ],
        [ 'a checkout that is absolute', { git => { checkoutLocation => '/etc' } }, 'invalid_argument', qr/checkout_location/ ],
        [ 'an id that is a path', { id => '../x' }, 'invalid_argument', qr/workspace_id/ ],
        [ 'uids of the machine', { base => 0 }, 'invalid_argument', qr/uid_base/ ],
    );
    for my $t (@t) {
        my ($name, $arg, $code, $text) = @$t;
        my $request = $c->request(%$arg);
        my $r = $c->finish($c->begin($request));
        is($r->{error}{code}, $code, "$name: the code is right") or diag explain $r;
        like($r->{error}{message} // '', $text, "$name: the text says what and why");
        unlike($r->{error}{message} // '', qr/secret/, "$name: no secret in the text");
        is(files($c->place($request->{workspaceId}) . '/workspace'), '', "$name: nothing is visible") if -d $c->place($request->{workspaceId}) && $request->{workspaceId} =~ /^site/;
    }
    is(sh("ls $dir/state/content/.trash | wc -l"), 0, 'nothing else was made');
};

subtest 'a private repository with a token' => sub {
    $c->tokens($c->host . " ada s3cret-t0ken\n");
    my $request = $c->request(git => { remoteUri => $c->url('private/site.git') });
    my $r = $c->finish($c->begin($request));
    is($r->{error}, undef, 'is cloned') or diag explain $r->{error};
    is(system("grep -rqs s3cret-t0ken $dir/state $dir/log"), 256, 'the token is nowhere on the disk');
    $c->tokens($c->host . " ada wr0ng-t0ken\n");
    $r = $c->init(git => { remoteUri => $c->url('private/site.git') });
    is($r->{error}{code}, 'permission_denied', 'a token that is refused is told');
    like($r->{error}{message}, qr/refused the Git access token.*Renew it/, 'with what to do');
    unlike($r->{error}{message}, qr/wr0ng/, 'and without the token');
    $c->tokens("example.com ada s3cret-t0ken\n");
    $r = $c->init(git => { remoteUri => $c->url('private/site.git') });
    like($r->{error}{message}, qr/add a token for host/, 'a token of another host is not used');
    $c->tokens('');
};

bare('big', 'head -c 3000000 /dev/urandom > big && git add . && git commit -qm big');

# The process that receives: it lives as long as the clone does.
sub gits { return qx(pgrep -u $user -f 'git-remote-http|git-upload') }

subtest 'a caller that goes away' => sub {
    my $request = $c->request(git => { remoteUri => $c->url('slow/big.git') });
    my $conn = $c->begin($request);
    $c->first($conn);
    ok(wait_for(sub { gits() }), 'git runs as the workspace user');
    my ($status, $environ);
    wait_for(sub {
        my ($pid) = split /\n/, gits();
        ($status, $environ) = map { open my $fh, '<', "/proc/$pid/$_" or return 0; local $/; scalar <$fh> } qw(status environ) if $pid;
        return $status && $environ;
    });
    like($status, qr/CapPrm:\t0+\n.*CapEff:\t0+\n.*CapAmb:\t0+\nNoNewPrivs:\t1/s, 'it has no capability and gains none');
    is(join(' ', grep { !/^(PATH|LC_ALL|HOME|XDG_CONFIG_HOME|GIT_\w+)=/ } split /\0/, $environ), '', 'its environment is clean');
    is(files($c->place($request->{workspaceId}) . '/workspace'), '', 'half a clone is not visible');
    $conn->close;
    ok(wait_for(sub { !gits() }), 'git is gone');
    ok(wait_for(sub { files($c->place($request->{workspaceId})) eq 'workspace' }), 'what it left too');
};

subtest 'a deletion while it clones' => sub {
    my $request = $c->request(id => 'site-gone', git => { remoteUri => $c->url('slow/big.git') });
    my $conn = $c->begin($request);
    $c->first($conn);
    ok(wait_for(sub { gits() }), 'it clones');
    is_deeply($c->call('DeleteWorkspace', { workspaceId => 'site-gone' }), {}, 'the deletion is done');
    ok(!-e $c->place('site-gone'), 'nothing is there');
    is($c->finish($conn)->{error}{code}, 'canceled', 'the clone is told');
    is_deeply($c->call('DeleteWorkspace', { workspaceId => 'site-gone' }), {}, 'a second deletion is fine');
    like($c->call('DeleteWorkspace', { workspaceId => '.trash' })->{message}, qr/workspace_id/, 'what is no workspace is refused');
};

subtest 'a hostile tree is removed and nothing else' => sub {
    my $p = $c->place('site-one');
    sh("mkdir -p outside && echo keep > outside/keep && ln -s $dir/outside $p/workspace/link && ln -s $dir/outside/keep $p/workspace/keep");
    sh("mkdir -p $p/workspace/locked/in && chmod 000 $p/workspace/locked");
    sh("cd $p/workspace && for i in \$(seq 300); do mkdir d && cd d || exit 1; done; touch bottom");
    is_deeply($c->call('DeleteWorkspace', { workspaceId => 'site-one' }), {}, 'the deletion is done');
    ok(!-e $p, 'at once');
    ok(wait_for(sub { sh("ls -A $dir/state/content/.trash") eq '' }), 'all of it is removed') or diag sh("find $dir/state/content/.trash | tail -5");
    is(sh('cat outside/keep'), 'keep', 'links were not followed');
};

subtest 'killed in the middle' => sub {
    my $request = $c->request(id => 'site-killed', git => { remoteUri => $c->url('slow/big.git') });
    my $conn = $c->begin($request);
    $c->first($conn);
    ok(wait_for(sub { gits() }), 'it clones');
    my $p = $c->place('site-one-more');
    $c->stop('KILL');
    ok(wait_for(sub { !gits() }), 'git does not outlive it');
    sh("mkdir -p $dir/state/content/.trash/old/x && touch $dir/state/content/.trash/old/x/y");
    $c->start;
    ok(wait_for(sub { sh("ls -A $dir/state/content/.trash") eq '' }), 'an unfinished deletion goes on');
    my $r = $c->init(id => 'site-killed', git => { remoteUri => $c->url('big.git') });
    is($r->{result}{source}, 'from-other', 'the next start clones');
    is(files($c->place('site-killed')), 'handed-out.json workspace', 'and what was left is gone');
};

subtest 'odd repositories' => sub {
    sh('git init -q --bare git/empty.git');
    my $r = $c->init(git => { remoteUri => $c->url('empty.git') });
    is($r->{error}, undef, 'an empty one is fine') or diag explain $r->{error};
    is($r->{result}{commit} // '', '', 'it has no commit');
    bare('super', 'git -c protocol.file.allow=always submodule -q add ' . $c->url('site.git') . ' sub && git submodule -q add ' . $c->url('site.git') . ' lost && git commit -qm s && sed -i "s#url = \(.*\)site.git#url = \1gone.git#;" .gitmodules; git commit -qam t');
    $r = $c->init(id => 'super-one', git => { remoteUri => $c->url('super.git') });
    is($r->{result}{source}, 'from-other', 'a submodule that is not there is no fault');
    like("@{ $r->{result}{warnings} // [] }", qr/Submodules are not complete/, 'but a warning');
    sh('rm -rf work && git init -q -b main work && cd work && git submodule -q add ' . $c->url('site.git') . ' sub && git commit -qm s && cd .. && git clone -q --bare work git/sup.git && rm -rf work');
    $r = $c->init(id => 'super-two', git => { remoteUri => $c->url('sup.git') });
    ok(-f $c->place('super-two') . '/workspace/site/sub/a.txt', 'a submodule that is there is fetched') or diag explain $r;
    is_deeply($r->{result}{warnings} // [], [], 'without a word');
    bare('link', 'ln -s /etc/passwd .gitpod.yml && git add . && git commit -qm l');
    $r = $c->init(git => { remoteUri => $c->url('link.git') });
    is_deeply($r->{result}{warnings} // [], [], 'a .gitpod.yml that is a link is not read');
};

subtest 'git status' => sub {
    $c->init(id => 'stat-one');
    my $at = $c->place('stat-one') . '/workspace/site';
    my $as = "setpriv --reuid $user --regid $user --clear-groups";
    chmod 0711, $c->place('stat-one');
    sh("cd $at && printf 'changed\\n' >> a.txt && touch n1 n2 && $as git config filter.x.clean 'touch $dir/pwned; cat' && $as git config core.fsmonitor 'touch $dir/pwned' && printf '* filter=x\\n' > .gitattributes && $as git -c core.fsmonitor=false -c filter.x.clean=cat add n1 && $as git -c core.fsmonitor=false -c user.name=a -c user.email=a\@b commit -qm mine n1 && printf 'changed\\n' >> a.txt; rm -f $dir/pwned");
    chmod 0777, $dir;
    my $r = $c->call('GetGitStatus', { workspaceId => 'stat-one', uidBase => $ContentService::BASE, checkoutLocation => 'site' });
    is($r->{branch}, 'main', 'the branch') or diag explain $r;
    like($r->{latestCommit}, qr/^[0-9a-f]{40}$/, 'the commit');
    is_deeply($r->{uncommitedFiles}, ['a.txt'], 'changed files');
    is_deeply([ sort @{ $r->{untrackedFiles} } ], [ '.gitattributes', 'n2' ], 'new files');
    is($r->{totalUnpushedCommits}, 1, 'commits that are nowhere else');
    like($r->{unpushedCommits}[0], qr/: mine$/, 'with their subject');
    ok(!-e "$dir/pwned", 'no program of the repository ran on the host');
    is(owner($c->place('stat-one')), sprintf('%d:%d 700', $ContentService::BASE, $user), 'its directory is closed again');
    is(files($c->place('stat-one')), 'handed-out.json workspace', 'nothing is left');
    chmod 0755, $dir;
    is($c->call('GetGitStatus', { workspaceId => 'nope-x', uidBase => $ContentService::BASE, checkoutLocation => 'site' })->{code}, 'not_found', 'an unknown workspace is not found');
};

subtest 'file URLs where they are allowed, and a full disk' => sub {
    my $small = ContentService->new(option => { 'allow-file-urls' => 'on', 'clone-timeout' => 3, 'answer-timeout' => 2, clones => 1 }, disk => '6m');
    my $r = $small->init(git => { remoteUri => "file://$dir/git/site.git" });
    is($r->{error}, undef, 'a repository of this machine is cloned') or diag explain $r->{error};
    bare('huge', 'head -c 9000000 /dev/urandom > big && git add . && git commit -qm big');
    my $request = $small->request(git => { remoteUri => "file://$dir/git/huge.git" });
    $r = $small->finish($small->begin($request));
    is($r->{error}{code}, 'resource_exhausted', 'what does not fit is refused') or diag explain $r;
    like($r->{error}{message}, qr/does not fit on the disk.*Delete workspaces/, 'with what to do');
    is(files($small->place($request->{workspaceId})), 'workspace', 'what was written is gone');
    is(files($small->place($request->{workspaceId}) . '/workspace'), '', 'nothing is visible');
    $r = $small->init(git => { remoteUri => $c->url('hang/site.git') }, deadline => 20);
    is($r->{error}{code}, 'unavailable', 'a server that says nothing is given up');
    like($r->{error}{message}, qr/has said nothing for 2 s/, 'and told');
    my $first = $small->begin($small->request(git => { remoteUri => $c->url('slow/big.git') }));
    $small->first($first);
    my $second = $small->begin($small->request(git => { remoteUri => "file://$dir/git/site.git" }));
    is($small->finish($first)->{error}{code}, 'deadline_exceeded', 'a clone that takes too long ends in time');
    $r = $small->finish($second);
    is($r->{result}{source}, 'from-other', 'another one waits for its turn') or diag explain $r;
    is(scalar(grep { ($_->{detail} // '') =~ /Waiting for other clones/ } @{ $r->{messages} }) > 0 ? 1 : 0, 1, 'and says so');
};

is($c->stop && 1, 1, 'it stops');
unlike($c->log, qr/Sanitizer|panic|"level":"error"/, 'no error in the log') or diag $c->log;
done_testing;
