"""Tests of Python's own: `cpython.py MODULE FOLDER` prints the result of each test of a module, run in a folder."""

import os
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree

module, folder = sys.argv[1], os.path.abspath(sys.argv[2])
work = tempfile.mkdtemp(dir=folder)
report = os.path.join(work, "report.xml")
command = [sys.executable, "-m", "test", "--timeout", "120", "-u", "none", "--junit-xml", report, module]
run = subprocess.run(command, cwd=work, env={**os.environ, "TMPDIR": work}, capture_output=True, text=True)
results = []
for case in ElementTree.parse(report).iter("testcase"):
    failures = [child for child in case if child.tag in ("failure", "error", "skipped")]
    result = "passed"
    for child in failures:
        words = (child.get("message") or child.text or "").strip().splitlines()
        last = re.sub(r"tmp\w+|@test_\d+_tmp\w*|0x[0-9a-f]+|\d{4,}", "N", words[-1] if words else "")
        result = f"{child.tag} {last}"
    results.append(f"{case.get('name')}: {result}")
print(*sorted(results), sep="\n")
print(len(results), "tests")
