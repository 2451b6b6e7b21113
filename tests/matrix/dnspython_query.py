"""A name asked for by dnspython, which sends its own packets.

usage: dnspython_query.py NAME SECONDS [SERVER PORT]
"""

import socket
import sys

import dns.exception
import dns.resolver

name, seconds, *server = sys.argv[1:]
resolver = dns.resolver.Resolver()
resolver.lifetime = float(seconds)
if server:
    resolver.nameservers = [socket.gethostbyname(server[0])]
    resolver.port = int(server[1])
try:
    print(sorted(record.to_text() for record in resolver.resolve(name, "A")))
except dns.exception.Timeout as error:
    # the words of a timeout tell how long it was, and what came of each try
    print(type(error).__name__, sorted({repr(entry[3]) for entry in error.kwargs["errors"]}))
except dns.exception.DNSException as error:
    print(type(error).__name__, error)
