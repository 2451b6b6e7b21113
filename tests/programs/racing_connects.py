"""Threads that connect one socket at the same moment, round after round: HOST PORT ROUNDS. Prints outcomes that no kernel gives."""

import errno
import select
import socket
import sys
import threading

target, rounds = (sys.argv[1], int(sys.argv[2])), int(sys.argv[3])
THREADS = 4
KNOWN = {
    True: {0, errno.EISCONN, errno.EALREADY},
    False: {0, errno.EISCONN, errno.EALREADY, errno.EINPROGRESS},
}
strange = set()
for turn in range(rounds):
    blocking = turn % 2 == 0
    with socket.socket() as stream:
        stream.setblocking(blocking)
        barrier = threading.Barrier(THREADS)

        def connect():
            barrier.wait()
            outcome = stream.connect_ex(target)
            if outcome not in KNOWN[blocking]:
                strange.add((blocking, errno.errorcode.get(outcome, outcome)))

        threads = [threading.Thread(target=connect) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        poll = select.poll()
        poll.register(stream, select.POLLIN)
        poll.poll(10_000)
        if stream.recv(100) != b"welcome\n":
            strange.add("no welcome")
print("strange:", sorted(strange, key=str))
