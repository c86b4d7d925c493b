package WebSocket;

# Frames as clients send them (RFC 6455 5.2).

use strict;
use warnings;

use constant { TEXT => 1, BINARY => 2, CLOSE => 8, PING => 9, PONG => 10 };

# One masked frame.
sub frame {
    my ($opcode, $payload) = @_;
    my $n = length $payload;
    my $mask = pack 'N', 0x5a3c7e01;
    my $length = $n < 126 ? pack('C', 128 | $n) : $n < 65536 ? pack('Cn', 254, $n) : pack('CNN', 255, 0, $n);
    return pack('C', 128 | $opcode) . $length . $mask . ($payload ^ substr $mask x ($n / 4 + 1), 0, $n);
}

# Binary frames with payloads of so many bytes.
sub data { return map { frame(BINARY, 'x' x $_) } @_ }

1;
