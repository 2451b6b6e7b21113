"""What a program inherits from whoever starts it, as far as it can see. Prints it, less what kinject is to add.

usage: inheritance.py
"""

import os
import resource
import signal
import stat
import sys


def status(*names):
    """Lines of /proc/self/status."""
    with open("/proc/self/status", encoding="ascii") as file:
        return [cleaned(line.split()) for line in file if line.split(":")[0] in names]


def cleaned(words):
    """Without signals 32 and 33, which the C library keeps for itself."""
    if words[0].startswith("Sig"):
        words[1] = f"{int(words[1], 16) & ~(3 << 31):x}"
    return words


def descriptors():
    """The open descriptors with their kinds; the one that lists them is not among them."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            mode = os.fstat(int(name)).st_mode
        except OSError:
            continue
        kinds = {stat.S_IFIFO: "pipe", stat.S_IFREG: "file", stat.S_IFCHR: "device", stat.S_IFSOCK: "socket"}
        found[int(name)] = kinds.get(stat.S_IFMT(mode), "other")
    return sorted(found.items())


print(sys.argv[1:])
print(status("Umask", "SigBlk", "SigIgn", "SigCgt", "Groups", "NoNewPrivs", "Seccomp", "CapEff", "CapBnd", "CapAmb"))
print(descriptors())
print(os.getcwd(), os.nice(0), os.getpgrp() != os.getpid(), os.getsid(0) != os.getpid())
print(sorted((name, resource.getrlimit(value)) for name, value in vars(resource).items() if name.startswith("RLIMIT_")))
print(sorted(item for item in os.environ.items() if not item[0].startswith("KINJECT_") and item[0] not in ("LD_PRELOAD", "_")))
print(signal.getsignal(signal.SIGPIPE), sorted(os.sched_getaffinity(0)))
