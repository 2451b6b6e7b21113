"""Says `started`, waits for a file, says `finished`.

usage: patient.py FILE
"""

import os
import sys
import time

print("started", flush=True)
while not os.path.exists(sys.argv[1]):
    time.sleep(0.02)
print("finished", flush=True)
