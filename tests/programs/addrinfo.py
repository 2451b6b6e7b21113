"""getaddrinfo(3) for a name, with every family, type and flag that programs use. Prints what came back, in order.

usage: addrinfo.py [--configured] NAME...

With --configured it asks only for what AI_ADDRCONFIG keeps from a host without IPv6, otherwise for the rest.
"""

import socket
import sys

ERRORS = {
    value: name for name, value in vars(socket).items() if name.startswith("EAI_")
}
FLAGS = {
    "none": 0,
    "ADDRCONFIG": socket.AI_ADDRCONFIG,
    "V4MAPPED|ADDRCONFIG": socket.AI_V4MAPPED | socket.AI_ADDRCONFIG,
    "V4MAPPED": socket.AI_V4MAPPED,
    "V4MAPPED|ALL": socket.AI_V4MAPPED | socket.AI_ALL,
    "CANONNAME": socket.AI_CANONNAME,
    "NUMERICHOST": socket.AI_NUMERICHOST,
    "NUMERICSERV": socket.AI_NUMERICSERV,
    "PASSIVE": socket.AI_PASSIVE,
}
FAMILIES = {"UNSPEC": socket.AF_UNSPEC, "INET": socket.AF_INET, "INET6": socket.AF_INET6}


def look_up(name, service, family, kind, protocol, flags):
    """One lookup as one string."""
    try:
        found = socket.getaddrinfo(name, service, family, kind, protocol, flags)
    except socket.gaierror as error:
        return ERRORS.get(error.errno, str(error.errno))
    except (UnicodeError, ValueError) as error:
        return type(error).__name__
    return " ".join(
        f"{entry[4][0]}/{entry[4][1]}/{int(entry[1])}/{entry[2]}" + (f"={entry[3]}" if entry[3] else "")
        for entry in found
    )


def main():
    """Asks for each name in each way."""
    names = sys.argv[1:]
    configured = names[0] == "--configured"
    for name in names[configured:]:
        for family_name, family in FAMILIES.items():
            for flags_name, flags in FLAGS.items():
                if configured != (family_name == "INET6" and "ADDRCONFIG" in flags_name):
                    continue
                answer = look_up(name, 80, family, socket.SOCK_STREAM, 0, flags)
                print(f"{name[:40]} {family_name} {flags_name}: {answer}")
        if configured:
            continue
        print(f"{name[:40]} any type:", look_up(name, None, 0, 0, 0, 0))
        print(f"{name[:40]} http by name:", look_up(name, "http", 0, 0, 0, 0))
        print(f"{name[:40]} datagrams:", look_up(name, 53, 0, socket.SOCK_DGRAM, 0, 0))
        print(f"{name[:40]} unknown service:", look_up(name, "no-such-service", 0, 0, 0, 0))
        print(f"{name[:40]} udp stream:", look_up(name, 1, 0, socket.SOCK_STREAM, socket.IPPROTO_UDP, 0))


main()
