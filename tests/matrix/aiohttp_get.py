"""A page by aiohttp. usage: aiohttp_get.py HOST PORT SECONDS"""

import asyncio
import sys

import aiohttp


async def fetch(url, seconds):
    """Says what comes of a request."""
    timeout = aiohttp.ClientTimeout(total=seconds)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as response:
            print(response.status, await response.text())
    except (aiohttp.ClientError, OSError) as error:
        print(type(error).__name__, error)


asyncio.run(fetch(f"http://{sys.argv[1]}:{sys.argv[2]}/", float(sys.argv[3])))
