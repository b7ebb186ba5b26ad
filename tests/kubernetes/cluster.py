#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A Kubernetes cluster of one node out of plain processes: no systemd, no registry, no network outside.

    cluster.py start DIR PROGRAMS IMAGE.tar...     DIR/admin.kubeconfig is the administrator's
    cluster.py stop DIR [--purge]                  with --purge nothing of it is left on the machine

etcd, containerd and runc are Debian's, the rest lies in PROGRAMS (programs/build.sh). The node's address
is on the bridge of its pods, so that pods, the node's processes and the API server reach each other.
kubelet's directory is the usual one, as CSI manifests name it: one cluster a machine.
"""
import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from machine import (BOOT, HOST_PATHS, KUBELET, STATE, ClusterError, end_mounters, free_port, mounts, remove_groups, run,
                     start_time, wait)
from node import BRIDGE, HERE, Node, Second

SERVICES, API_SERVICE = "10.96.0.0/16", "10.96.0.1"
NEEDED = ["etcd", "containerd", "runc", "iptables", "conntrack", "ip", "openssl", "ctr"]
ORDER = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "containerd", "dns", "kubelet",
         "kube-proxy"]


class Cluster:
    def __init__(self, directory, programs=None):
        self.dir, self.programs = Path(directory).absolute(), programs and Path(programs)
        self.kubeconfig = self.dir / "admin.kubeconfig"
        self.first, self.second, self.images = Node(self), Second(self), []
        self.facts_file = self.dir / "facts.json"
        self.facts = json.loads(self.facts_file.read_text()) if self.facts_file.exists() else {}
        if self.facts.get("boot") != BOOT:  # nothing of it has outlived the machine's restart
            self.facts = {}

    # --- processes -----------------------------------------------------------

    def pid(self, name):
        with contextlib.suppress(OSError, ValueError):
            pid, began = (self.dir / "pid" / name).read_text().split()
            if began and began == start_time(pid):  # a pid comes again
                return int(pid)
        return None

    def spawn(self, name, *command, groups=()):
        """`groups`: control groups that it enters."""
        def enter():
            for group in groups:
                (group / "cgroup.procs").write_text("0")
        log = (self.dir / "log" / f"{name}.log").open("a")
        environment = os.environ | {"PATH": f"{self.programs}:{os.environ['PATH']}:/usr/sbin:/sbin"}
        process = subprocess.Popen([str(c) for c in command], stdin=subprocess.DEVNULL, stdout=log,
                                   stderr=log, start_new_session=True, env=environment,
                                   preexec_fn=enter if groups else None)
        (self.dir / "pid" / name).write_text(f"{process.pid} {start_time(process.pid)}")

    def end(self, name):
        pid = self.pid(name)
        if pid:
            os.kill(pid, signal.SIGTERM)
            with contextlib.suppress(ClusterError):
                wait(f"end of {name}", 5, lambda: not self.pid(name))
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        (self.dir / "pid" / name).unlink(missing_ok=True)

    def ready(self, name, seconds, condition):
        def there():
            if not self.pid(name):
                tail = (self.dir / "log" / f"{name}.log").read_text()[-800:]
                raise ClusterError(f"{name} ended: {tail}")
            return condition()
        wait(f"{name} (log: {self.dir}/log/{name}.log)", seconds, there)

    # --- start ---------------------------------------------------------------

    def start(self, images):
        for name in NEEDED:
            if not shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin"):
                raise ClusterError(f"{name} is not installed: scripts/deps.sh kubernetes")
        if os.geteuid() != 0:
            raise ClusterError("a cluster of one's own needs root; or set KUBECONFIG to one that exists")
        if STATE.exists() or (KUBELET.exists() and any(KUBELET.iterdir())):
            raise ClusterError(f"{STATE} or {KUBELET} is in use: another kubelet is here, or a cluster of an "
                               "earlier run, which `cluster.py stop DIR --purge` ends")
        for name in ("pki", "log", "pid", "conf", "cni"):
            (self.dir / name).mkdir(parents=True, exist_ok=True)
        STATE.mkdir()
        self.facts = {"boot": BOOT, "made": [str(p) for p in HOST_PATHS if not p.exists()],
                      "ports": {n: free_port() for n in ("etcd", "peer", "api", "kcm", "scheduler", "kubelet",
                                                         "healthz", "proxy", "metrics")}}
        self.facts["forward"] = Path("/proc/sys/net/ipv4/ip_forward").read_text().strip()
        self.facts_file.write_text(json.dumps(self.facts))
        self.prepare_host()
        self.certificates()
        self.control_plane()
        self.images = images
        self.first.containers(images)
        self.spawn("dns", sys.executable, HERE / "dns.py", self.first.address, self.kubeconfig)
        self.first.start()
        wait("the default service account", 60, lambda: self.kubectl(
            "-n", "default", "get", "serviceaccount", "default", check=False).returncode == 0)
        for name in ORDER:
            self.ready(name, 1, lambda: True)

    def prepare_host(self):
        """Only kubelet's directory is made a shared mount: / is private without systemd."""
        KUBELET.mkdir(parents=True, exist_ok=True)
        run("mount", "--bind", KUBELET, KUBELET)
        run("mount", "--make-rshared", KUBELET)
        self.first.bridge()
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        for name, value in (("net/bridge/bridge-nf-call-iptables", "1"),
                            ("fs/inotify/max_user_instances", "1024")):
            with contextlib.suppress(OSError):
                Path("/proc/sys", name).write_text(value)

    def certificates(self):
        pki = self.dir / "pki"
        quiet = {"cwd": pki}
        run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=test",
            "-keyout", "ca.key", "-out", "ca.crt", **quiet)
        run("openssl", "genrsa", "-out", "sa.key", "2048", **quiet)
        run("openssl", "rsa", "-in", "sa.key", "-pubout", "-out", "sa.pub", **quiet)
        api = f"IP:127.0.0.1,IP:{self.first.address},IP:{API_SERVICE},DNS:kubernetes.default.svc"
        for name, subject, names in (
                ("apiserver", "/CN=kube-apiserver", api), ("admin", "/O=system:masters/CN=admin", ""),
                ("kcm", "/CN=system:kube-controller-manager", ""), ("proxy", "/CN=system:kube-proxy", ""),
                ("scheduler", "/CN=system:kube-scheduler", "")):
            self.certificate(name, subject, names)
        self.first.certificate()

    def certificate(self, name, subject, names):
        pki = self.dir / "pki"
        quiet = {"cwd": pki}
        (pki / "ext").write_text("extendedKeyUsage=serverAuth,clientAuth\n" +
                                 (f"subjectAltName={names}\n" if names else ""))
        run("openssl", "req", "-newkey", "rsa:2048", "-nodes", "-subj", subject, "-keyout", f"{name}.key",
            "-out", f"{name}.csr", **quiet)
        run("openssl", "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key",
            "-CAcreateserial", "-days", "30", "-extfile", "ext", "-out", f"{name}.crt", **quiet)
        if name != "apiserver":
            self.write_kubeconfig(name)

    def write_kubeconfig(self, name):
        pki = self.dir / "pki"
        server = f"https://{self.first.address}:{self.facts['ports']['api']}"
        document = {"apiVersion": "v1", "kind": "Config", "current-context": "test",
                    "clusters": [{"name": "test", "cluster": {"server": server,
                                                              "certificate-authority": f"{pki}/ca.crt"}}],
                    "users": [{"name": name, "user": {"client-certificate": f"{pki}/{name}.crt",
                                                      "client-key": f"{pki}/{name}.key"}}],
                    "contexts": [{"name": "test", "context": {"cluster": "test", "user": name}}]}
        path = self.kubeconfig if name == "admin" else self.dir / "conf" / f"{name}.kubeconfig"
        path.write_text(json.dumps(document))
        path.chmod(0o600)

    def kubectl(self, *arguments, **options):
        return run(self.programs / "kubectl", f"--kubeconfig={self.kubeconfig}", *arguments, **options)

    def control_plane(self):
        pki, ports, conf = self.dir / "pki", self.facts["ports"], self.dir / "conf"
        client, peer = (f"http://127.0.0.1:{ports[p]}" for p in ("etcd", "peer"))
        self.spawn("etcd", "etcd", "--data-dir", self.dir / "etcd", "--unsafe-no-fsync", "--log-level", "warn",
                   "--listen-client-urls", client, "--advertise-client-urls", client, "--listen-peer-urls", peer,
                   "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}")
        self.spawn("kube-apiserver", "kube-apiserver", f"--etcd-servers={client}", f"--advertise-address={self.first.address}",
                   f"--secure-port={ports['api']}", f"--tls-cert-file={pki}/apiserver.crt",
                   f"--tls-private-key-file={pki}/apiserver.key", f"--client-ca-file={pki}/ca.crt",
                   "--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
                   "--allow-privileged=true",
                   "--service-account-issuer=https://kubernetes.default.svc",
                   f"--service-account-key-file={pki}/sa.pub", f"--service-account-signing-key-file={pki}/sa.key",
                   f"--kubelet-client-certificate={pki}/admin.crt", f"--kubelet-client-key={pki}/admin.key",
                   "--kubelet-preferred-address-types=InternalIP", f"--service-cluster-ip-range={SERVICES}",
                   "--profiling=false")
        self.ready("kube-apiserver", 180,
                   lambda: self.kubectl("get", "--raw", "/readyz", check=False).returncode == 0)
        for name, short, more in (
                ("kube-controller-manager", "kcm",
                 [f"--service-account-private-key-file={pki}/sa.key", f"--root-ca-file={pki}/ca.crt",
                  "--use-service-account-credentials"]), ("kube-scheduler", "scheduler", [])):
            kubeconfig = conf / f"{short}.kubeconfig"
            self.spawn(name, name, *(f"--{o}={kubeconfig}" for o in (
                "kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig")),
                f"--secure-port={ports[short]}", "--leader-elect=false", "--profiling=false", *more)

    def load(self, images):
        self.images = images
        for node in (self.first, *([self.second] if self.second.pid() else [])):
            node.load(images)

    # --- stop ----------------------------------------------------------------

    def stop(self, purge):
        if not self.facts:  # kubelet's directory and all the rest are another's
            raise ClusterError(f"{self.dir} has no cluster: nothing is ended")
        if self.second.dir.exists():
            self.second.leave()
        for name in ("kubelet", "kube-proxy", "kube-scheduler", "kube-controller-manager"):
            self.end(name)
        if self.pid("containerd"):
            self.first.end_containers()
        for name in ("kube-apiserver", "etcd", "dns", "containerd"):
            self.end(name)
        end_mounters()
        for prefix in (KUBELET, STATE, self.dir / "containerd"):
            for point in mounts(prefix):
                if point != str(KUBELET) or purge:
                    run("umount", "-l", point, check=False)
        if purge:
            self.purge()

    def purge(self):
        for path in self.facts.get("made", []):
            shutil.rmtree(path, ignore_errors=True)
        left = [p for p in (KUBELET, STATE, self.dir) if mounts(p)]
        if left:
            raise ClusterError(f"still mounted, nothing is deleted there: {left}")
        for path in (KUBELET, STATE, self.dir):
            shutil.rmtree(path, ignore_errors=True)
        for tool in ("iptables", "ip6tables"):
            rules = run(f"{tool}-save", check=False).stdout
            kept = [line for line in rules.splitlines() if not re.search(r"KUBE-|CNI-", line)]
            if rules and len(kept) != len(rules.splitlines()):
                run(f"{tool}-restore", check=False, input="\n".join(kept) + "\n")
        for name in Path("/run/netns").glob("cni-*"):
            run("ip", "netns", "del", name.name, check=False)
        run("ip", "link", "del", BRIDGE, check=False)
        with contextlib.suppress(OSError, KeyError):
            Path("/proc/sys/net/ipv4/ip_forward").write_text(self.facts["forward"])
        for top in Path("/sys/fs/cgroup").glob("*/kubepods"):
            remove_groups(top)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["start", "stop"])
    parser.add_argument("dir")
    parser.add_argument("programs", nargs="?")
    parser.add_argument("images", nargs="*")
    parser.add_argument("--purge", action="store_true")
    given = parser.parse_args()
    cluster = Cluster(given.dir, given.programs)
    try:
        if given.what == "start":
            cluster.start(given.images)
            print(f"export KUBECONFIG={cluster.kubeconfig}")
        else:
            cluster.stop(given.purge)
    except ClusterError as e:
        sys.exit(f"cluster: {e}")


if __name__ == "__main__":
    main()
