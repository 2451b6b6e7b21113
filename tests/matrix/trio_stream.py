"""trio's streams, whose happy eyeballs try address after address. usage: trio_stream.py HOST PORT SECONDS"""

import sys

import trio


async def talk(host, port, seconds):
    """Says what comes of a connection."""
    try:
        with trio.fail_after(seconds):
            stream = await trio.open_tcp_stream(host, port)
            print("connected to", stream.socket.getpeername(), await stream.receive_some(100))
    except (OSError, trio.TooSlowError) as error:
        print(type(error).__name__, error, repr(error.__cause__))


trio.run(talk, sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
