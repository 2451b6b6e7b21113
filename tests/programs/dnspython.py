"""Names as dnspython sees them, which reads resolv.conf and asks the name servers itself.

Prints a line for each question: a name and a type, by UDP and by TCP."""

import sys

import dns.exception
import dns.resolver

resolver = dns.resolver.Resolver()
print("servers:", resolver.nameservers, "search:", [str(domain) for domain in resolver.search])
for question in sys.argv[1:]:
    name, kind = question.split("/")
    for tcp in (False, True):
        try:
            answer = sorted(data.to_text() for data in resolver.resolve(name, kind, tcp=tcp, search=True))
        except dns.exception.DNSException as error:
            answer = type(error).__name__
        print(question, "TCP:" if tcp else "UDP:", answer)
