"""A cluster and a machine whose name servers say whatever a test wants, in a network namespace without anything else.

usage: two_resolvers.py KINJECT AGENT SCENE

SCENE is JSON: "mute" are name servers of this machine before the one that answers, or, with "all_mute", all of them, which say
nothing before they have been asked "patience" questions; "cluster" and "machine" map names to lists of addresses (or, for reverse names, of names), "cluster_fails" are names of which the cluster's server cannot say anything; "search" is the
machine's search list, "hosts" its hosts file, "flags" are kinject's, "script" is what runs in the session. Everything else does
not exist. Prints what the script prints; then, as JSON, the questions that each of the name servers was asked. At port 7 of every
address of this machine, "here" is said.
"""

import ipaddress
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading

CLUSTER, MACHINE = "127.0.0.8", "127.0.0.9"
RECORDS = {1: socket.AF_INET, 28: socket.AF_INET6}
PTR = 12


def name_at(message, at):
    """The name of a question, and where it ends."""
    labels = []
    while message[at]:
        labels.append(message[at + 1 : at + 1 + message[at]].decode())
        at += 1 + message[at]
    return ".".join(labels).lower(), at + 1


def encoded(name):
    """A name as bytes."""
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"


def records(kind, values):
    """The data of those values that are of that type."""
    if kind == PTR:
        return [encoded(value) for value in values]
    family = RECORDS.get(kind)
    version = {socket.AF_INET: 4, socket.AF_INET6: 6}.get(family)
    return [
        socket.inet_pton(family, value) for value in values if ipaddress.ip_address(value).version == version
    ]


def answer(question, zone, fails, asked):
    """What the zone says, or that it cannot say anything."""
    name, end = name_at(question, 12)
    kind = struct.unpack_from("!H", question, end)[0]
    asked.append(name)
    found = records(kind, zone[name]) if name in zone else []
    code = 2 if name in fails else 0 if name in zone else 3
    head = question[:2] + struct.pack("!5H", 0x8580 | code, 1, len(found), 0, 0)
    body = b"".join(b"\xc0\x0c" + struct.pack("!2HIH", kind, 1, 5, len(data)) + data for data in found)
    return head + question[12 : end + 4] + body


def serve_names(address, zone, fails=(), patience=0):
    """Answers over UDP for ever, once it has been asked so often; gives the list of what was asked."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((address, 53))
    asked = []

    def serve():
        while True:
            question, peer = server.recvfrom(4096)
            said = answer(question, zone, fails, asked)
            if len(asked) > patience:
                server.sendto(said, peer)

    threading.Thread(target=serve, daemon=True).start()
    return asked


def serve_greeting():
    """Says where it is to whoever connects."""
    listener = socket.create_server(("", 7))

    def serve():
        while True:
            connection, _ = listener.accept()
            connection.sendall(b"here")
            connection.close()

    threading.Thread(target=serve, daemon=True).start()


def shown(folder, path, text):
    """Puts a text in the place of one of the machine's files, for this namespace of mounts."""
    file = os.path.join(folder, os.path.basename(path))
    with open(file, "w", encoding="utf-8") as output:
        output.write(text)
    subprocess.run(["mount", "--bind", file, path], check=True)


def main():
    """Sets the scene, and plays it."""
    kinject, agent, scene = sys.argv[1:]
    scene = json.loads(scene)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for address in scene.get("here", []):
        subprocess.run(["ip", "address", "add", address, "dev", "lo"], check=True)
    os.umask(0o077)
    with tempfile.TemporaryDirectory() as folder:
        key, door, conf = (os.path.join(folder, name) for name in ("key", "agent.sock", "pod.conf"))
        with open(key, "wb") as output:
            output.write(os.urandom(32))
        domains = scene.get("domains", "default.svc.cluster.local svc.cluster.local cluster.local")
        with open(conf, "w", encoding="utf-8") as output:
            output.write(f"search {domains}\nnameserver {CLUSTER}\noptions ndots:5\n")
        mute = scene.get("mute", [])
        servers = mute if scene.get("all_mute") else mute + [MACHINE]
        machine = "".join(f"nameserver {server}\n" for server in servers)
        if "search" in scene:
            machine += f"search {scene['search']}\n"
        shown(folder, "/etc/resolv.conf", machine)
        shown(folder, "/etc/hosts", "127.0.0.1 localhost\n" + scene.get("hosts", ""))
        asked = {
            "cluster": serve_names(CLUSTER, scene.get("cluster", {}), scene.get("cluster_fails", ())),
            "machine": serve_names(MACHINE, scene.get("machine", {})),
        }
        patience = scene.get("patience", 1 << 30)
        for server in mute:
            asked[server] = serve_names(server, scene.get("machine", {}), (), patience)
        serve_greeting()
        serving = subprocess.Popen(
            [agent, "--listen", "unix:" + door, "--key", key, "--resolv-conf", conf], stderr=subprocess.PIPE
        )
        # it says that it listens
        serving.stderr.readline()
        threading.Thread(target=serving.stderr.read, daemon=True).start()
        try:
            flags = ["--agent", "unix:" + door, "--agent-key", key] + scene.get("flags", [])
            command = scene.get("command", "run")
            program = [sys.executable, "-SEuc", scene["script"]]
            subprocess.run([kinject, command] + flags + ["--"] + program, stdin=subprocess.DEVNULL, check=True, timeout=60)
        finally:
            serving.terminate()
            serving.wait()
        print(json.dumps(asked))


main()
