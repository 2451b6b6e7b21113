"""Prints the first IPv4 address of a name.

usage: address.py NAME
"""

import socket
import sys

print(socket.gethostbyname(sys.argv[1]))
