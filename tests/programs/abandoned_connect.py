"""Starts a connect to a peer that does not answer, abandons it, and ends.

usage: abandoned_connect.py HOST PORT blocking|unfinished|lingering|heir

`blocking` waits for a second, `unfinished` does not wait at all and leaves the socket open, `lingering` runs on for longer
than the relay needs to notice a closed socket. `heir` is for the session's name server: a child keeps the connection, sends
no query, and outlives the program. Prints the result of the connect, and last "ending".
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
