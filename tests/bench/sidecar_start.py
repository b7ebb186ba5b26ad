#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""sidecar_start.py PROGRAM N: from the start of a skyvol-s3 --sidecar to its first answer, N times, and its memory.

Memory is that of launcher, nginx's master and worker together: PSS (shared pages divided) and RSS (counted in each),
idle and with 256 connections open.
"""
import http.client
import pathlib
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def tree(pid):
    found = [pid]
    for children in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        for child in children.read_text().split():
            found += tree(int(child))
    return found


def memory(pid):
    """KiB of PSS and of RSS."""
    total = {"Pss": 0, "Rss": 0}
    for process in tree(pid):
        for line in pathlib.Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()[1:]:
            name, value = line.split(":")
            if name in total:
                total[name] += int(value.split()[0])
    return total["Pss"], total["Rss"]


def ask(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", "/")
    connection.getresponse().read()
    return connection


def one(binary, directory):
    port, identity = free_port(), free_port()
    began = time.monotonic()
    process = subprocess.Popen(
        [binary, "--sidecar", "--listen", f"127.0.0.1:{port}", "--identity-listen",
         f"127.0.0.1:{identity}", "--dir", directory / "store", "--run-dir", directory / "run"],
        stdout=subprocess.DEVNULL)
    try:
        while time.monotonic() - began < 20:
            try:
                ask(port)
                break
            except OSError:
                time.sleep(0.001)
        took = (time.monotonic() - began) * 1000
        idle = memory(process.pid)
        held = [ask(port) for _ in range(256)]
        busy = memory(process.pid)
        del held
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    return took, idle, busy


def main():
    binary, count = sys.argv[1], int(sys.argv[2])
    results = []
    for _ in range(count):
        with tempfile.TemporaryDirectory() as directory:
            results.append(one(binary, pathlib.Path(directory)))
    times = sorted(result[0] for result in results)
    print(f"start to first answer, ms: median {statistics.median(times):.0f}, "
          f"95 % {times[int(0.95 * (count - 1))]:.0f}, longest {times[-1]:.0f}")
    for name, index in (("idle", 1), ("256 connections", 2)):
        print(f"{name}, KiB: PSS {max(r[index][0] for r in results)}, "
              f"RSS {max(r[index][1] for r in results)}")


if __name__ == "__main__":
    main()
