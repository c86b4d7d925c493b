package ModuleProgram;

# A program in C around source files of the module, compiled by the test that
# runs it: it wants nginx's headers, which the build of the plugins does without.
#
#   my $program = ModuleProgram::compile('t/http/table_step.c', shared => [qw(table table_write)]);
#
# shared: files of ngx_gitpod_module/shared, without ngx_gitpod_ and .c; core:
# of plugins/lib/core; flags, libraries: for the compiler. Dies when it does not
# compile. The program is gone with the test.

use strict;
use warnings;

use File::Basename qw(basename dirname);
use File::Temp qw(tempdir);
use GitpodTest ();

sub compile {
    my ($source, %option) = @_;
    my ($top, $nginx) = ($GitpodTest::TOP, '/usr/share/nginx/src/src');
    my $program = tempdir(CLEANUP => 1) . '/' . basename($source, '.c');
    my @include = map { "-I$_" } "$nginx/core", "$nginx/event", "$nginx/event/modules", "$nginx/os/unix",
        dirname(GitpodTest::module()) . '/objs', "$top/ngx_gitpod_module/shared", "$top/plugins/lib";
    my @shared = map { "$top/ngx_gitpod_module/shared/ngx_gitpod_$_.c" } @{ $option{shared} };
    my @core = map { "$top/plugins/lib/core/$_.c" } @{ $option{core} // [] };
    my @command = ('cc', '-std=gnu11', '-g', '-Wall', '-Wno-unused-parameter', '-Werror', @{ $option{flags} // ['-O2'] }, @include,
        '-o', $program, "$top/$source", @shared, @core, @{ $option{libraries} // [] });
    system(@command) == 0 or die "$source does not compile\n";
    return $program;
}

1;
