"""Begins to connect to a peer that says nothing, gives that up, and ends.

usage: given_up.py HOST PORT blocking|unfinished|lingering|heir

`blocking` waits for a second, `unfinished` does not wait at all and leaves the socket open, `lingering` lives on for longer
than anybody who watches for closed sockets needs. `heir` is for the session's name server: a child keeps the connection, asks
nothing, and outlives the program. Prints what came of the connect, and last of all "ending".
"""

import errno
import os
import socket
import sys
import time

target, how = (sys.argv[1], int(sys.argv[2])), sys.argv[3]
peer = socket.socket()
if how == "unfinished":
    peer.setblocking(False)
    print(errno.errorcode[peer.connect_ex(target)])
else:
    peer.settimeout(1)
    try:
        peer.connect(target)
        print("connected")
    except OSError as error:
        print(type(error).__name__)
    if how == "heir" and os.fork() == 0:
        for stream in (1, 2):
            os.close(stream)
        time.sleep(20)
        os._exit(0)
    peer.close()
if how == "lingering":
    time.sleep(2.5)
print("ending", flush=True)
