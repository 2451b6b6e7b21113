# Perl's sockets. usage: perl socket.pl HOST PORT SECONDS
use strict;
use warnings;
use IO::Socket::INET;

my ($host, $port, $seconds) = @ARGV;
my $socket = IO::Socket::INET->new(PeerAddr => $host, PeerPort => $port, Timeout => $seconds);
if (defined $socket) {
    print "connected to ", $socket->peerhost, " ", $socket->peerport, ": ", <$socket>;
} else {
    printf "%s (%d)\n%s\n", $!, $!, $@;
}
