"""connect(2) on a socket that is connected, was connected, or was shut down: HOST, a service that refuses: HOST PORT, a name server.

Programs read EISCONN as "it is done", and 0 as "there is a new connection" (connect(2))."""

import errno
import select
import socket
import sys

host, refusing, name_server = sys.argv[1], (sys.argv[2], int(sys.argv[3])), (sys.argv[4], 53)
ECHO, RESET, GREETING = (host, 7000), (host, 7004), (host, 7005)
LISTENER = socket.create_server(("127.0.0.1", 0))
NOBODY = socket.socket()
NOBODY.bind(("127.0.0.1", 0))
GONE = select.POLLHUP | select.POLLRDHUP | select.POLLERR


def told(call, *arguments):
    try:
        return call(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]


def connect(stream, target):
    if stream.family == socket.AF_INET6:
        target = f"::ffff:{target[0]}", target[1]
    return errno.errorcode.get(stream.connect_ex(target), 0)


def wait(stream, events, patience=10_000):
    """Whether one of the events comes."""
    poll = select.poll()
    poll.register(stream, events)
    return bool(poll.poll(patience))


def connected(family, blocking, target=ECHO):
    stream = socket.socket(family)
    stream.setblocking(blocking)
    first = connect(stream, target)
    if not blocking:
        wait(stream, select.POLLOUT)
        first = first, connect(stream, target)
    print("  first:", first)
    return stream


def again(what, stream, targets=(ECHO, GREETING, refusing, ("127.0.0.1", 1), LISTENER.getsockname())):
    print(f"  {what}:", [connect(stream, target) for target in targets])
    stream.close()


for family in (socket.AF_INET, socket.AF_INET6):
    for blocking in (True, False):
        print(family.name, "blocking" if blocking else "non-blocking")
        again("connected", connected(family, blocking))
        again("to a name server", connected(family, blocking, name_server))
        for how in (socket.SHUT_RD, socket.SHUT_WR, socket.SHUT_RDWR):
            stream = connected(family, blocking)
            stream.shutdown(how)
            if how == socket.SHUT_RD:
                again(f"shut down ({how})", stream)
                continue
            # the far end closes as well, and nothing is left of the connection
            wait(stream, select.POLLHUP)
            again(f"shut down ({how}) and over", stream)
        stream = connected(family, blocking, GREETING)
        wait(stream, select.POLLRDHUP)
        again("closed by the far end", stream)
        stream = connected(family, blocking, RESET)
        stream.send(b"x")
        wait(stream, GONE)
        again("reset by the far end", stream)
        stream = connected(family, blocking, RESET)
        stream.send(b"x")
        wait(stream, GONE)
        print("  SO_ERROR:", errno.errorcode.get(stream.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), 0))
        again("and asked why", stream)

for blocking in (True, False):
    print("refused here, then there, then once more,", "blocking" if blocking else "non-blocking")
    for asks in (False, True):
        with socket.socket() as stream:
            stream.setblocking(blocking)
            outcomes = [connect(stream, NOBODY.getsockname())]
            if not blocking:
                wait(stream, select.POLLERR)
                if asks:
                    error = stream.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                    outcomes.append(errno.errorcode.get(error, 0))
            outcomes.append(connect(stream, GREETING))
            if not blocking:
                outcomes.append(connect(stream, GREETING))
            wait(stream, select.POLLIN)
            print(" ", outcomes, told(stream.recv, 100), told(stream.getpeername))

print("shut down before it was ever connected")
for family in (socket.AF_INET, socket.AF_INET6):
    for how in (socket.SHUT_RD, socket.SHUT_WR, socket.SHUT_RDWR):
        with socket.socket(family) as stream:
            stream.settimeout(5)
            print(" ", how, told(stream.shutdown, how), end=" ")
            print(told(stream.connect, (f"::ffff:{host}" if family == socket.AF_INET6 else host, 7000)), end=" ")
            # nobody says that it is over
            print(wait(stream, GONE if how == socket.SHUT_WR else select.POLLHUP, 300), end=" ")
            print(told(stream.send, b"x"), told(stream.getpeername))

print("refused there, and shut down then")
for asks in (False, True):
    with socket.socket() as stream:
        stream.setblocking(False)
        connect(stream, refusing)
        wait(stream, select.POLLERR)
        if asks:
            stream.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        print(" ", told(stream.shutdown, socket.SHUT_WR), [connect(stream, ECHO) for _ in range(3)])
