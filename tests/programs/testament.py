"""A program that says much and ends at once, and whoever hears it.

usage: testament.py hear            prints its port, then for one connection and some datagrams what came of them
       testament.py ignore         prints its port, takes a connection and never reads, until its input ends
       testament.py leave HOST PORT
       testament.py fill HOST PORT leaves as much as is taken
"""

import os
import socket
import sys
import time

BYTES = 6_000_000
DATAGRAMS = 50


def hear():
    """Reads slowly, and keeps its end open until it has everything."""
    listener = socket.create_server(("", 0))
    port = listener.getsockname()[1]
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.bind(("", port))
    print(port, flush=True)
    connection, _ = listener.accept()
    connection.settimeout(20)
    heard = 0
    try:
        while part := connection.recv(20_000):
            heard += len(part)
            time.sleep(0.003)
        print(heard, "bytes and the end")
    except OSError as error:
        print(heard, "bytes and", type(error).__name__)
    datagrams.settimeout(5)
    heard = 0
    try:
        while heard < DATAGRAMS:
            datagrams.recv(100)
            heard += 1
    except TimeoutError:
        pass
    print(heard, "datagrams")


def leave(host, port):
    """Ends when the kernel has taken everything, without a word more to anyone."""
    target = (host, int(port))
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    connection = socket.create_connection(target, timeout=20)
    connection.sendall(b"x" * BYTES)
    for _ in range(DATAGRAMS):
        datagrams.sendto(b"x", target)
    os._exit(0)


def ignore():
    """Takes what its kernel takes."""
    listener = socket.create_server(("", 0))
    print(listener.getsockname()[1], flush=True)
    connection, _ = listener.accept()
    sys.stdin.read()
    connection.close()


def fill(host, port):
    """Ends when nothing is taken any more."""
    connection = socket.create_connection((host, int(port)), timeout=1)
    try:
        while True:
            connection.send(b"x" * 65536)
    except TimeoutError:
        os._exit(0)


{"hear": hear, "ignore": ignore, "leave": leave, "fill": fill}[sys.argv[1]](*sys.argv[2:])
