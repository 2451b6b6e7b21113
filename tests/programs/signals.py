"""Says which signals arrive, until SIGTERM has.

usage: signals.py
"""

import signal
import sys

NAMES = ["SIGHUP", "SIGINT", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGWINCH", "SIGTERM"]
WANTED = {getattr(signal, name) for name in NAMES}
signal.pthread_sigmask(signal.SIG_BLOCK, WANTED)
print("ready", flush=True)
while True:
    arrived = signal.Signals(signal.sigwait(WANTED))
    print(arrived.name, flush=True)
    if arrived == signal.SIGTERM:
        sys.exit(9)
