"""Python's blocking sockets. usage: blocking.py HOST PORT SECONDS"""

import socket
import sys

host, port, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
try:
    with socket.create_connection((host, port), seconds) as connection:
        print("connected to", connection.getpeername(), connection.recv(100))
except OSError as error:
    print(type(error).__name__, error)
