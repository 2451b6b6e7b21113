"""libc's functions as foreign-function libraries call them: looked up by the handle of libc itself.

usage: foreign_functions.py NAME PORT
"""

import ctypes
import os
import socket
import struct
import sys


class AddressInfo(ctypes.Structure):
    """netdb.h's struct addrinfo."""


AddressInfo._fields_ = [
    ("flags", ctypes.c_int),
    ("family", ctypes.c_int),
    ("type", ctypes.c_int),
    ("protocol", ctypes.c_int),
    ("length", ctypes.c_uint32),
    ("address", ctypes.c_void_p),
    ("canonical_name", ctypes.c_char_p),
    ("next", ctypes.POINTER(AddressInfo)),
]


def error():
    """The last call's errno as a word."""
    return os.strerror(ctypes.get_errno())


def look_up(libc, name, port):
    """The first address, as getaddrinfo(3) gives it; 16 bytes of struct sockaddr_in."""
    found, hints = ctypes.POINTER(AddressInfo)(), AddressInfo(family=socket.AF_INET, type=socket.SOCK_STREAM)
    code = libc.getaddrinfo(name, port, ctypes.byref(hints), ctypes.byref(found))
    if code:
        libc.gai_strerror.restype = ctypes.c_char_p
        return None, libc.gai_strerror(code).decode()
    address = ctypes.string_at(found.contents.address, 16)
    libc.freeaddrinfo(found)
    return address, socket.inet_ntoa(address[4:8])


def main():
    """Does the same by each handle."""
    name, port = sys.argv[1].encode(), sys.argv[2].encode()
    for place, library in ("the program", None), ("libc", "libc.so.6"), ("a library over libc", "libm.so.6"):
        libc = ctypes.CDLL(library, use_errno=True)
        address, words = look_up(libc, name, port)
        print(place, "getaddrinfo", words)
        libc.gethostbyname.restype = ctypes.c_void_p
        print(place, "gethostbyname", "found" if libc.gethostbyname(name) else "not found")
        if address is None:
            continue
        descriptor = libc.socket(socket.AF_INET, socket.SOCK_STREAM, 0)
        libc.setsockopt(descriptor, socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 10, 0), 16)
        print(place, "connect", "connected" if libc.connect(descriptor, address, 16) == 0 else error())
        room = ctypes.create_string_buffer(64)
        count = libc.recv(descriptor, room, 64, 0)
        print(place, "recv", room.raw[:count] if count >= 0 else error())
        libc.close(descriptor)
        descriptor = libc.socket(socket.AF_INET, socket.SOCK_DGRAM, 0)
        length = ctypes.c_uint32(16)
        own = ctypes.create_string_buffer(16)
        libc.connect(descriptor, address, 16)
        libc.getpeername(descriptor, own, ctypes.byref(length))
        print(place, "getpeername", socket.inet_ntoa(own.raw[4:8]))
        libc.close(descriptor)
    answer = ctypes.create_string_buffer(512)
    resolver = ctypes.CDLL("libresolv.so.2")
    # before glibc 2.34 it has underscores
    res_query = getattr(resolver, "res_query", None) or getattr(resolver, "__res_query")
    print("libresolv res_query", res_query(name + b".svc.cluster.local", 1, 1, answer, 512) > 0)


main()
