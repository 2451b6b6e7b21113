"""asyncio's streams. usage: stream.py HOST PORT SECONDS"""

import asyncio
import sys


async def talk(host, port, seconds):
    """Says what comes of a connection."""
    try:
        async with asyncio.timeout(seconds):
            reader, writer = await asyncio.open_connection(host, port)
            print("connected to", writer.get_extra_info("peername"), await reader.read())
            writer.close()
    except OSError as error:
        print(type(error).__name__, error)


def arguments():
    """Host, port and seconds."""
    return sys.argv[1], int(sys.argv[2]), float(sys.argv[3])


if __name__ == "__main__":
    asyncio.run(talk(*arguments()))
