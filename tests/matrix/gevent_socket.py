"""Python's sockets made cooperative by gevent. usage: gevent_socket.py HOST PORT SECONDS"""

import sys

import gevent
from gevent import socket

host, port, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])


def talk():
    """Says what comes of a connection."""
    try:
        with socket.create_connection((host, port), seconds) as connection:
            print("connected to", connection.getpeername(), connection.recv(100))
    except OSError as error:
        print(type(error).__name__, error)


gevent.spawn(talk).get()
