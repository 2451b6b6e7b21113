"""watchdog: what its observer tells of a ConfigMap's change, and of files in an emptyDir."""

import os
import threading
import time

from watchdog.events import FileSystemEventHandler
from watchdog.observers import Observer

events, changed = [], threading.Event()


class Handler(FileSystemEventHandler):
    def on_any_event(self, event):
        if event.event_type in ("created", "moved", "deleted", "modified"):
            events.append((event.event_type, event.src_path.split("/..2")[0], event.dest_path.split("/..2")[0]))
        if event.dest_path.endswith("..data"):
            changed.set()


def follow(folder, act, done):
    events.clear()
    observer = Observer()
    observer.schedule(Handler(), folder, recursive=True)
    observer.start()
    act()
    while not done():
        time.sleep(0.02)
    observer.stop()
    observer.join()
    return sorted({event for event in events})


def write():
    with open("file", "w") as file:
        file.write("x")
    os.rename("file", "renamed")
    os.mkdir("folder")
    os.remove("renamed")


def is_removed():
    return any(kind == "deleted" and path.endswith("renamed") for kind, path, _ in events)


work = os.environ["WORK"]
print(*follow(work, write, is_removed), sep="\n")
found = follow("/etc/config", lambda: print("CHANGE", flush=True), changed.is_set)
print(*[event for event in found if "..data" in event[1] + event[2]], sep="\n")
print(open("/etc/config/greeting").read())
