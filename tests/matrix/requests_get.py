"""A page by requests. usage: requests_get.py HOST PORT SECONDS"""

import re
import sys

import requests

try:
    response = requests.get(f"http://{sys.argv[1]}:{sys.argv[2]}/", timeout=float(sys.argv[3]))
    print(response.status_code, response.text)
except requests.RequestException as error:
    print(type(error).__name__, re.sub("0x[0-9a-f]+", "ADDRESS", str(error)))
