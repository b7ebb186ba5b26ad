#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Names of services, for the test cluster: dns.py ADDRESS KUBECONFIG

Answers A queries for NAME.NAMESPACE.svc.cluster.local and for pods of headless services by asking the
API server, and says of every other name that it does not exist. UDP and TCP, port 53.
"""
import json
import socketserver
import ssl
import struct
import sys
import threading
import time
import urllib.request

A, IN, NO_SUCH_NAME, TTL = 1, 1, 3, 2


class Services:
    """Known names, read again when they are older than a second."""

    def __init__(self, kubeconfig):
        with open(kubeconfig, encoding="utf-8") as f:
            config = json.load(f)
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self.server = cluster["server"]
        self.context = ssl.create_default_context(cafile=cluster["certificate-authority"])
        self.context.load_cert_chain(user["client-certificate"], user["client-key"])
        self.lock, self.names, self.read = threading.Lock(), {}, 0

    def get(self, path):
        with urllib.request.urlopen(self.server + path, context=self.context, timeout=5) as answer:
            return json.load(answer)["items"]

    def fetch(self):
        names = {}
        for service in self.get("/api/v1/services"):
            meta = service["metadata"]
            name = f"{meta['name']}.{meta['namespace']}.svc.cluster.local"
            address = service["spec"].get("clusterIP")
            names[name] = [] if address in (None, "", "None") else [address]
        for slice_ in self.get("/apis/discovery.k8s.io/v1/endpointslices"):
            meta = slice_["metadata"]
            service = meta.get("labels", {}).get("kubernetes.io/service-name")
            name = f"{service}.{meta['namespace']}.svc.cluster.local"
            for endpoint in slice_.get("endpoints") or []:
                if endpoint.get("conditions", {}).get("ready"):
                    if endpoint.get("hostname"):
                        names.setdefault(f"{endpoint['hostname']}.{name}", []).extend(endpoint["addresses"])
                    if not names.get(name):
                        names[name] = list(endpoint["addresses"])
        return names

    def find(self, name):
        """Addresses, or None: there is no such name."""
        with self.lock:
            if time.monotonic() - self.read > 1:
                try:
                    self.names = self.fetch()
                except OSError as e:
                    print("dns:", e, flush=True)
                self.read = time.monotonic()
            return self.names.get(name.lower().rstrip("."))


def question(message):
    labels, at = [], 12
    while message[at]:
        labels.append(message[at + 1:at + 1 + message[at]].decode("ascii", "replace"))
        at += 1 + message[at]
    kind, _ = struct.unpack("!HH", message[at + 1:at + 5])
    return ".".join(labels), kind, message[12:at + 5]


def answer(message, services):
    name, kind, asked = question(message)
    found = services.find(name)
    addresses = found if found and kind == A else []
    flags = 0x8580 | (NO_SUCH_NAME if found is None else 0)
    head = message[:2] + struct.pack("!HHHHH", flags, 1, len(addresses), 0, 0)
    records = b"".join(b"\xc0\x0c" + struct.pack("!HHIH", A, IN, TTL, 4) + bytes(map(int, a.split(".")))
                       for a in addresses)
    return head + asked + records


class Datagram(socketserver.BaseRequestHandler):
    def handle(self):
        data, sock = self.request
        try:
            sock.sendto(answer(data, self.server.services), self.client_address)
        except (IndexError, struct.error):
            pass


class Stream(socketserver.StreamRequestHandler):
    def handle(self):
        while len(size := self.rfile.read(2)) == 2:
            reply = answer(self.rfile.read(struct.unpack("!H", size)[0]), self.server.services)
            self.wfile.write(struct.pack("!H", len(reply)) + reply)


def main():
    services = Services(sys.argv[2])
    socketserver.ThreadingTCPServer.allow_reuse_address = True
    servers = [socketserver.ThreadingUDPServer((sys.argv[1], 53), Datagram),
               socketserver.ThreadingTCPServer((sys.argv[1], 53), Stream)]
    for server in servers:
        server.services, server.daemon_threads = services, True
        threading.Thread(target=server.serve_forever).start()


if __name__ == "__main__":
    main()
