"""A page by urllib. usage: urllib_get.py HOST PORT SECONDS"""

import sys
import urllib.request

try:
    with urllib.request.urlopen(f"http://{sys.argv[1]}:{sys.argv[2]}/", timeout=float(sys.argv[3])) as response:
        print(response.status, response.read())
except OSError as error:
    print(type(error).__name__, error)
