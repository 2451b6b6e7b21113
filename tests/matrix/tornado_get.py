"""A page by tornado's own client. usage: tornado_get.py HOST PORT SECONDS"""

import asyncio
import sys

from tornado.httpclient import AsyncHTTPClient, HTTPError


async def fetch(url, seconds):
    """Says what comes of a request."""
    try:
        response = await AsyncHTTPClient().fetch(url, connect_timeout=seconds, request_timeout=seconds)
        print(response.code, response.body)
    except (HTTPError, OSError) as error:
        print(type(error).__name__, error)


asyncio.run(fetch(f"http://{sys.argv[1]}:{sys.argv[2]}/", float(sys.argv[3])))
