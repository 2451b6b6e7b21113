"""A cluster and a machine whose name servers' answers a test chooses, in a network namespace of their own.

usage: two_resolvers.py KINJECT AGENT SCENARIO

SCENARIO is JSON: "mute" are name servers of this machine before the one that answers, or, with "all_mute", all of them;
they do not answer before they have received "patience" queries. "cluster" and "machine" map names to lists of addresses
(or, for reverse names, of names), "cluster_fails" are names for which the cluster's server answers SERVFAIL. "search" is
the machine's search list, "hosts" its hosts file, "flags" are kinject's, "script" is what runs in the session. All other
names do not exist. Prints what the script prints; then, as JSON, the queries that each name server received. Port 7 of
every address of this machine answers "here".
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


def answer(question, zone, fails, queries):
    """The records of the zone, or a failure."""
    name, end = name_at(question, 12)
    kind = struct.unpack_from("!H", question, end)[0]
    queries.append(name)
    found = records(kind, zone[name]) if name in zone else []
    code = 2 if name in fails else 0 if name in zone else 3
    head = question[:2] + struct.pack("!5H", 0x8580 | code, 1, len(found), 0, 0)
    body = b"".join(b"\xc0\x0c" + struct.pack("!2HIH", kind, 1, 5, len(data)) + data for data in found)
    return head + question[12 : end + 4] + body


def serve_names(address, zone, fails=(), patience=0):
    """Answers over UDP after a number of queries; returns the list of queries."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((address, 53))
    queries = []

    def serve():
        while True:
            question, peer = server.recvfrom(4096)
            said = answer(question, zone, fails, queries)
            if len(queries) > patience:
                server.sendto(said, peer)

    threading.Thread(target=serve, daemon=True).start()
    return queries


def serve_greeting():
    """Sends its location to each client."""
    listener = socket.create_server(("", 7))

    def serve():
        while True:
            connection, _ = listener.accept()
            connection.sendall(b"here")
            connection.close()

    threading.Thread(target=serve, daemon=True).start()


def shown(folder, path, text):
    """Mounts a text over one of the machine's files in this mount namespace."""
    file = os.path.join(folder, os.path.basename(path))
    with open(file, "w", encoding="utf-8") as output:
        output.write(text)
    subprocess.run(["mount", "--bind", file, path], check=True)


def main():
    """Sets the scenario up, and runs it."""
    kinject, agent, scenario = sys.argv[1:]
    scenario = json.loads(scenario)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for address in scenario.get("here", []):
        subprocess.run(["ip", "address", "add", address, "dev", "lo"], check=True)
    os.umask(0o077)
    with tempfile.TemporaryDirectory() as folder:
        key, listener, conf = (os.path.join(folder, name) for name in ("key", "agent.sock", "pod.conf"))
        with open(key, "wb") as output:
            output.write(os.urandom(32))
        domains = scenario.get("domains", "default.svc.cluster.local svc.cluster.local cluster.local")
        with open(conf, "w", encoding="utf-8") as output:
            output.write(f"search {domains}\nnameserver {CLUSTER}\noptions ndots:5\n")
        mute = scenario.get("mute", [])
        servers = mute if scenario.get("all_mute") else mute + [MACHINE]
        machine = "".join(f"nameserver {server}\n" for server in servers)
        if "search" in scenario:
            machine += f"search {scenario['search']}\n"
        shown(folder, "/etc/resolv.conf", machine)
        shown(folder, "/etc/hosts", "127.0.0.1 localhost\n" + scenario.get("hosts", ""))
        queries = {
            "cluster": serve_names(CLUSTER, scenario.get("cluster", {}), scenario.get("cluster_fails", ())),
            "machine": serve_names(MACHINE, scenario.get("machine", {})),
        }
        patience = scenario.get("patience", 1 << 30)
        for server in mute:
            queries[server] = serve_names(server, scenario.get("machine", {}), (), patience)
        serve_greeting()
        serving = subprocess.Popen(
            [agent, "--listen", "unix:" + listener, "--key", key, "--resolv-conf", conf], stderr=subprocess.PIPE
        )
        # it prints a line when it listens
        serving.stderr.readline()
        threading.Thread(target=serving.stderr.read, daemon=True).start()
        try:
            flags = ["--agent", "unix:" + listener, "--agent-key", key] + scenario.get("flags", [])
            command = scenario.get("command", "run")
            program = [sys.executable, "-SEuc", scenario["script"]]
            subprocess.run([kinject, command] + flags + ["--"] + program, stdin=subprocess.DEVNULL, check=True, timeout=60)
        finally:
            serving.terminate()
            serving.wait()
        print(json.dumps(queries))


main()
