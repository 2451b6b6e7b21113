"""Makes a call on a channel of gRPC's, whose core asks name servers and connects by itself, and prints how the call ended.

Besides the addresses the channel looks for balancers (SRV) and for the service's configuration (TXT).

usage: grpc_channel.py TARGET
"""

import sys
import time

import grpc

PATIENCE = 2.5

ASKS_FOR_EVERYTHING = [("grpc.dns_enable_srv_queries", 1), ("grpc.service_config_disable_resolution", 0)]


def plain(message):
    return message


began = time.monotonic()
with grpc.insecure_channel(sys.argv[1], ASKS_FOR_EVERYTHING) as channel:
    call = channel.unary_unary("/any.Service/Method", plain, plain)
    try:
        print(call(b"", timeout=10))
    except grpc.RpcError as error:
        print(error.code().name)
        print(error.details())
took = time.monotonic() - began
print("soon" if took < PATIENCE else f"after {took:.1f} s")
