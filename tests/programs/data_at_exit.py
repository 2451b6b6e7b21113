"""A program that writes data and ends at once, and the services that receive it.

usage: data_at_exit.py hear            prints its port, then the result of one connection and some datagrams
       data_at_exit.py count           prints its port, then how many datagrams came
       data_at_exit.py send HOST PORT  sends datagrams alone
       data_at_exit.py ignore         prints its port, takes a connection and never reads, until its input ends
       data_at_exit.py outstay        prints its port, reads to the end, prints that, and waits until its input ends
       data_at_exit.py leave HOST PORT
       data_at_exit.py shut HOST PORT leaves a connection that is half-closed
       data_at_exit.py fill HOST PORT writes as much as the buffers hold
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
    received = 0
    try:
        while part := connection.recv(20_000):
            received += len(part)
            time.sleep(0.003)
        print(received, "bytes and the end")
    except OSError as error:
        print(received, "bytes and", type(error).__name__)
    listen(datagrams)


def listen(datagrams):
    """Counts datagrams until all are there or no more come."""
    datagrams.settimeout(10)
    received = 0
    try:
        while received < DATAGRAMS:
            datagrams.recv(100)
            received += 1
    except TimeoutError:
        pass
    print(received, "datagrams")


def count():
    """Receives only datagrams."""
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
    """Ends when the kernel has taken everything, without waiting for an answer."""
    target = (host, int(port))
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    connection = socket.create_connection(target, timeout=20)
    connection.sendall(b"x" * BYTES)
    for _ in range(DATAGRAMS):
        datagrams.sendto(b"x", target)
    os._exit(0)


def ignore():
    """Accepts a connection and never reads from it."""
    listener = socket.create_server(("", 0))
    print(listener.getsockname()[1], flush=True)
    connection, _ = listener.accept()
    sys.stdin.read()
    connection.close()


def outstay():
    """Reads to the end of file, and does not close its own end."""
    listener = socket.create_server(("", 0))
    print(listener.getsockname()[1], flush=True)
    connection, _ = listener.accept()
    while connection.recv(65536):
        pass
    connection.sendall(b"!")
    sys.stdin.read()
    connection.close()


def shut(host, port):
    """Half-closes, and ends when the far end has received that."""
    connection = socket.create_connection((host, int(port)), timeout=20)
    connection.sendall(b"words")
    connection.shutdown(socket.SHUT_WR)
    connection.recv(1)
    os._exit(0)


def fill(host, port):
    """Ends when the kernel accepts no more bytes."""
    connection = socket.create_connection((host, int(port)), timeout=1)
    try:
        while True:
            connection.send(b"x" * 65536)
    except TimeoutError:
        os._exit(0)


CASES = [hear, count, ignore, outstay, leave, send, fill, shut]
{case.__name__: case for case in CASES}[sys.argv[1]](*sys.argv[2:])
