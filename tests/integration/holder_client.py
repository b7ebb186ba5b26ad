# SPDX-License-Identifier: Apache-2.0
"""The node plugin's half of the holder's protocol (lib/mount/holder.h), for tests."""
import array
import contextlib
import errno
import json
import os
import signal
import socket
import time


def sealed(text):
    fd = os.memfd_create("sealed", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, text.encode())
    return fd


class Refused(Exception):
    def __init__(self, answer):
        super().__init__(f"{answer['result']}: {answer['error']}")
        self.errno = -answer["result"]


class Holder:
    """Calls on one holder's socket; each opens a connection of its own."""

    def __init__(self, path):
        self.path = str(path)

    def call(self, message, fds=(), timeout=20):
        answers = []
        received = []
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
            s.settimeout(timeout)
            s.connect(self.path)
            s.sendmsg([json.dumps(message).encode()],
                      [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else [])
            while not answers or "result" not in answers[-1]:
                data, ancillary, _, _ = s.recvmsg(65536, socket.CMSG_SPACE(32 * 4))
                if not data:
                    raise ConnectionError("the holder closed the connection")
                answers.append(json.loads(data))
                for _, _, payload in ancillary:
                    numbers = array.array("i")
                    numbers.frombytes(payload)
                    received += list(numbers)
        if answers[-1]["result"] != 0:
            raise Refused(answers[-1])
        return answers, received

    def mount(self, key, target, config="{}", credentials="", timeout=20, **more):
        fds = [sealed(config), sealed(credentials)]
        try:
            self.call({"op": "mount", "key": key, "target": str(target), "source": f"test:{key}",
                       "timeout_ms": timeout * 1000, **more}, fds, timeout)
        finally:
            for fd in fds:
                os.close(fd)

    def unmount(self, key, drain_ms=0, force=False):
        """Asks again, as the holder's answer says, while the mounter is just being replaced."""
        end = time.monotonic() + 20
        while True:
            try:
                self.call({"op": "unmount", "key": key, "drain_ms": drain_ms, "force": force},
                          timeout=drain_ms / 1000 + 30)
                return
            except (Refused, ConnectionError) as refused:
                busy = isinstance(refused, ConnectionError) or \
                    (refused.errno == errno.EBUSY and "in use" not in str(refused))
                if not busy or time.monotonic() > end:
                    raise
                time.sleep(0.05)

    def status(self, key):
        return self.call({"op": "status", "key": key})[0][0]

    def list(self):
        return self.call({"op": "list"})[0][:-1]

    def credentials(self, key, text):
        fd = sealed(text)
        try:
            self.call({"op": "credentials", "key": key}, [fd])
        finally:
            os.close(fd)

    def replace(self, key):
        self.call({"op": "replace", "key": key})

    def fetch(self, key):
        answers, fds = self.call({"op": "fetch", "key": key})
        return answers[0]["names"], fds

    def offer(self, key, names, fds):
        self.call({"op": "offer", "key": key, "names": names}, fds)

    def answers(self):
        with contextlib.suppress(OSError, ConnectionError):
            self.call({"op": "list"}, timeout=2)
            return True
        return False


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
        return [int(p) for p in f.read().split()]


def supervisor_of(keeper):
    """The keeper's child that is the supervisor; mounters may have been left to it as well."""
    for pid in children(keeper):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/comm", encoding="ascii") as f:
            if f.read().strip() == "holder-super":
                return pid
    return None


def kill9(pid):
    os.kill(pid, signal.SIGKILL)
