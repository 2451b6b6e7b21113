"""getaddrinfo(3) for internationalised names, in two locales. Prints what came back."""

import locale
import socket

AI_IDN, AI_CANONIDN = 0x40, 0x80
ERRORS = {value: name for name, value in vars(socket).items() if name.startswith("EAI_")} | {-105: "EAI_IDN_ENCODE"}
FLAGS = {
    "IDN": AI_IDN,
    "IDN|CANONNAME": AI_IDN | socket.AI_CANONNAME,
    "IDN|CANONNAME|CANONIDN": AI_IDN | socket.AI_CANONNAME | AI_CANONIDN,
    "CANONNAME|CANONIDN": socket.AI_CANONNAME | AI_CANONIDN,
    "IDN|NUMERICHOST": AI_IDN | socket.AI_NUMERICHOST,
}
INTERNATIONAL = [
    "b\u00fccher.external.test",
    "B\u00dcCHER.External.test.",
    "missing-\u00fc.external.test",
    "\uff57\uff45\uff42.default",
    "\uff11\uff10.96.10.1",
    "b\u00fccher..test",
    "-\u00fc.test",
    "\u00fc" * 70 + ".test",
]
PLAIN = ["web", "xn--bcher-kva.external.test", "xn--web-.external.test", "10.96.10.1"]


def look_up(name, flags, service=80):
    """One lookup as one string."""
    try:
        found = socket.getaddrinfo(name, service, socket.AF_INET, socket.SOCK_STREAM, 0, flags)
    except socket.gaierror as error:
        return ERRORS.get(error.errno, str(error.errno))
    return " ".join(entry[4][0] + (f"={entry[3]}" if entry[3] else "") for entry in found)


for place in "C.UTF-8", "C":
    locale.setlocale(locale.LC_CTYPE, place)
    names = [(name, flags) for name in INTERNATIONAL for flags in FLAGS if "IDN" in flags.split("|")]
    names += [(name, flags) for name in PLAIN for flags in FLAGS]
    for name, flags in names:
        print(place, ascii(name[:30]), flags, ascii(look_up(name.encode(), FLAGS[flags])))
    print(place, "no UTF-8:", look_up(b"b\xfccher.external.test", AI_IDN))
    print(place, "unknown service:", look_up(INTERNATIONAL[0].encode(), AI_IDN, "no-such-service"))
