"""asyncio's streams over uvloop. usage: uvloop_stream.py HOST PORT SECONDS"""

import uvloop
from stream import arguments, talk

uvloop.run(talk(*arguments()))
