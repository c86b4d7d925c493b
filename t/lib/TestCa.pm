package TestCa;

# A certificate authority of one test, made by openssl: nothing of it is trusted elsewhere.
#
#   my $ca = TestCa->new($dir);
#   my $c = $ca->issue('gitpod.test', 'api.gitpod.test');    # { cert, key }, paths of PEM files
use strict;
use warnings;

sub new {
    my ($class, $dir, %option) = @_;
    my $self = bless { dir => "$dir/ca", lines => [], %option }, $class;
    mkdir $self->{dir};
    $self->{cert} = "$self->{dir}/ca.pem";
    $self->{key} = "$self->{dir}/ca.key";
    run("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 365 -subj '/O=gitpod tests/CN=gitpod test CA' "
        . "-addext basicConstraints=critical,CA:true -addext keyUsage=critical,keyCertSign,cRLSign,digitalSignature -keyout $self->{key} -out $self->{cert}");
    return $self;
}

sub run {
    my ($command) = @_;
    my $text = `$command 2>&1`;
    die "$command: $text" if $?;
}

# Names of hosts; a hash of options may be the first: days, ocsp (a URL).
sub issue {
    my ($self, @names) = @_;
    my %option = ref $names[0] ? %{ shift @names } : ();
    my $serial = '0x4' . join '', map { sprintf '%X', rand 16 } 1 .. 39; # 160 bits, positive
    my $base = "$self->{dir}/" . @{ $self->{lines} };
    my $days = $option{days} // 90;
    open my $f, '>', "$base.ext" or die $!;
    print $f "basicConstraints=critical,CA:false\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth\nsubjectAltName=",
        join(',', map { "DNS:$_" } @names), "\n", ($option{ocsp} ? "authorityInfoAccess=OCSP;URI:$option{ocsp}\n" : ());
    close $f;
    run("openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj '/CN=$names[0]' -keyout $base.key -out $base.csr");
    run("openssl x509 -req -in $base.csr -CA $self->{cert} -CAkey $self->{key} -set_serial $serial -days $days -extfile $base.ext -out $base.pem");
    run("cat $self->{cert} >> $base.pem"); # the chain, as authorities give it
    chmod 0600, "$base.key";
    push @{ $self->{lines} }, sprintf "V\t491231235959Z\t\t%s\tunknown\t/CN=%s\n", substr($serial, 2), $names[0];
    return { cert => "$base.pem", key => "$base.key", serial => substr $serial, 2 };
}

# The index that `openssl ocsp` answers from.
sub index_file {
    my ($self) = @_;
    open my $f, '>', "$self->{dir}/index.txt" or die $!;
    print $f @{ $self->{lines} };
    close $f;
    open $f, '>', "$self->{dir}/index.txt.attr" or die $!;
    print $f "unique_subject = no\n";
    close $f;
    return "$self->{dir}/index.txt";
}

1;
