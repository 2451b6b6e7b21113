"""A program that says much and ends at once, and whoever hears it.

usage: testament.py hear            prints its port, then for one connection and some datagrams what came of them
       testament.py count           prints its port, then how many datagrams came
       testament.py send HOST PORT  sends datagrams alone
       testament.py ignore         prints its port, takes a connection and never reads, until its input ends
       testament.py outstay        prints its port, reads to the end, says so, and stays until its input ends
       testament.py leave HOST PORT
       testament.py shut HOST PORT leaves a connection that is half-closed
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
    listen(datagrams)


def listen(datagrams):
    """Counts datagrams until all are there or no more come."""
    datagrams.settimeout(10)
    heard = 0
    try:
        while heard < DATAGRAMS:
            datagrams.recv(100)
            heard += 1
    except TimeoutError:
        pass
    print(heard, "datagrams")


def count():
    """Hears datagrams alone."""
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.bind(("", 0))
    print(datagrams.getsockname()[1], flush=True)
    listen(datagrams)


def send(host, port):
    """Ends when the last datagram was sent."""
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for _ in range(DATAGRAMS):
        datagrams.sendto(b"x", (host, int(port)))
    os._exit(0)


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


def outstay():
    """Hears that the peer has no more to say, and does not close for that."""
    listener = socket.create_server(("", 0))
    print(listener.getsockname()[1], flush=True)
    connection, _ = listener.accept()
    while connection.recv(65536):
        pass
    connection.sendall(b"!")
    sys.stdin.read()
    connection.close()


def shut(host, port):
    """Half-closes, and ends when the far end has heard of that."""
    connection = socket.create_connection((host, int(port)), timeout=20)
    connection.sendall(b"words")
    connection.shutdown(socket.SHUT_WR)
    connection.recv(1)
    os._exit(0)


def fill(host, port):
    """Ends when nothing is taken any more."""
    connection = socket.create_connection((host, int(port)), timeout=1)
    try:
        while True:
            connection.send(b"x" * 65536)
    except TimeoutError:
        os._exit(0)


CASES = [hear, count, ignore, outstay, leave, send, fill, shut]
{case.__name__: case for case in CASES}[sys.argv[1]](*sys.argv[2:])
