"""Python's own clients. Prints the result of each.

usage: clients.py POD
"""

import asyncio
import http.client
import socket
import sys
import urllib.error
import urllib.request

POD = sys.argv[1]


def say(what, call, *arguments):
    """The result of a call, or the name of what it raised."""
    try:
        print(f"{what}: {call(*arguments)}")
    except urllib.error.URLError as error:
        print(f"{what}: {type(error.reason).__name__}")
    except OSError as error:
        print(f"{what}: {type(error).__name__}")


def fetch(url):
    """A page by urllib."""
    with urllib.request.urlopen(url, timeout=1) as response:
        return f"{response.status} {response.read().decode().strip()}"


def kept_alive():
    """Several requests over one connection."""
    connection = http.client.HTTPConnection("api", timeout=5)
    bodies = []
    for _ in range(3):
        connection.request("GET", "/")
        bodies.append(connection.getresponse().read())
    return bodies


async def talk(host, port):
    """A greeting by asyncio."""
    reader, writer = await asyncio.wait_for(asyncio.open_connection(host, port), 1)
    received = await reader.read()
    peer = writer.get_extra_info("peername")
    writer.close()
    return peer, received


async def happy_eyeballs():
    """Several addresses, tried one after another with a short time-out."""
    _, writer = await asyncio.open_connection("db", 7005, happy_eyeballs_delay=0.05, family=socket.AF_INET)
    writer.close()
    return "connected"


async def race():
    """The first of several wins, the others are cancelled."""
    tasks = [asyncio.create_task(talk(host, 7005)) for host in ["198.18.0.1", "10.96.10.3"]]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    return done.pop().result()


say("urllib", fetch, "http://web/")
say("urllib elsewhere", fetch, "http://web.other/")
say("urllib, refused", fetch, f"http://{POD}:4444/")
say("urllib, unknown", fetch, "http://missing.external.test/")
say("urllib, silent", fetch, "http://198.18.0.1/")
say("one connection", kept_alive)
say("asyncio", lambda: asyncio.run(talk("echo", 7005)))
say("asyncio, refused", lambda: asyncio.run(talk(POD, 4444)))
say("asyncio, unknown", lambda: asyncio.run(talk("missing", 80)))
say("asyncio, silent", lambda: asyncio.run(talk("198.18.0.1", 7005)))
say("asyncio, happy eyeballs", lambda: asyncio.run(happy_eyeballs()))
say("asyncio, a race", lambda: asyncio.run(race()))
