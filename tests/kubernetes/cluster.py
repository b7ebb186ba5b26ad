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
import socket
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
KUBELET = Path("/var/lib/kubelet")
BOOT = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
STATE = Path("/run/skyvol-kubernetes")  # short, for unix sockets
BRIDGE = "skyvolk8s0"
NODE, NODE_IP, PODS = "node1", "10.244.0.1", "10.244.0.0/24"
SERVICES, API_SERVICE = "10.96.0.0/16", "10.96.0.1"
# Of our manifests, of kubelet and of containerd; what was there before stays.
HOST_PATHS = [Path(p) for p in ("/run/skyvol", "/var/lib/skyvol", "/var/log/pods", "/var/log/containers", "/var/lib/cni",
                                "/run/containerd", "/opt/containerd")]
NEEDED = ["etcd", "containerd", "runc", "iptables", "conntrack", "ip", "openssl", "ctr"]
ORDER = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "containerd", "dns", "kubelet",
         "kube-proxy"]


class ClusterError(Exception):
    pass


def run(*command, check=True, **options):
    options = {"text": True, "capture_output": True} | options
    done = subprocess.run([str(c) for c in command], check=False, **options)
    if check and done.returncode != 0:
        raise ClusterError(f"{' '.join(map(str, command[:4]))}: {done.stderr.strip()[-500:]}")
    return done


def free_port():
    with socket.socket() as s:
        s.bind(("0.0.0.0", 0))
        return s.getsockname()[1]


def wait(what, seconds, condition):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise ClusterError(f"not within {seconds} s: {what}")
        time.sleep(0.1)


def start_time(pid):
    """In ticks since boot; empty of what has ended."""
    with contextlib.suppress(OSError):
        os.waitpid(int(pid), os.WNOHANG)  # it may be a child of ours
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if fields[0] == "Z" else fields[19]
    return ""


def mounts(prefix):
    """Mount points at and below `prefix`, the deepest first."""
    with open("/proc/self/mountinfo", encoding="utf-8") as lines:
        points = [line.split()[4].replace("\\040", " ") for line in lines]
    return sorted((p for p in points if p == str(prefix) or p.startswith(f"{prefix}/")), reverse=True)


class Cluster:
    def __init__(self, directory, programs=None):
        self.dir, self.programs = Path(directory).absolute(), programs and Path(programs)
        self.kubeconfig = self.dir / "admin.kubeconfig"
        self.containerd = STATE / "containerd.sock"
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

    def spawn(self, name, *command):
        log = (self.dir / "log" / f"{name}.log").open("a")
        environment = os.environ | {"PATH": f"{self.programs}:{os.environ['PATH']}:/usr/sbin:/sbin"}
        process = subprocess.Popen([str(c) for c in command], stdin=subprocess.DEVNULL, stdout=log,
                                   stderr=log, start_new_session=True, env=environment)
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
        self.containers(images)
        self.node()

    def prepare_host(self):
        """Only kubelet's directory is made a shared mount: / is private without systemd."""
        KUBELET.mkdir(parents=True, exist_ok=True)
        run("mount", "--bind", KUBELET, KUBELET)
        run("mount", "--make-rshared", KUBELET)
        run("ip", "link", "add", BRIDGE, "type", "bridge")
        run("ip", "addr", "add", f"{NODE_IP}/24", "dev", BRIDGE)
        run("ip", "link", "set", BRIDGE, "up")
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
        api = f"IP:127.0.0.1,IP:{NODE_IP},IP:{API_SERVICE},DNS:kubernetes.default.svc"
        for name, subject, names in (
                ("apiserver", "/CN=kube-apiserver", api), ("admin", "/O=system:masters/CN=admin", ""),
                ("kcm", "/CN=system:kube-controller-manager", ""), ("proxy", "/CN=system:kube-proxy", ""),
                ("scheduler", "/CN=system:kube-scheduler", ""),
                ("kubelet", f"/O=system:nodes/CN=system:node:{NODE}", f"IP:{NODE_IP},DNS:{NODE}")):
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
        server = f"https://{NODE_IP}:{self.facts['ports']['api']}"
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
        self.spawn("kube-apiserver", "kube-apiserver", f"--etcd-servers={client}", f"--advertise-address={NODE_IP}",
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

    def containers(self, images):
        network = {"cniVersion": "0.4.0", "name": "test", "plugins": [
            {"type": "bridge", "bridge": BRIDGE, "isGateway": True, "ipMasq": True, "hairpinMode": True,
             "ipam": {"type": "host-local", "dataDir": f"{STATE}/addresses",
                      "ranges": [[{"subnet": PODS, "rangeStart": "10.244.0.10", "gateway": NODE_IP}]],
                      "routes": [{"dst": "0.0.0.0/0"}]}},
            {"type": "portmap", "capabilities": {"portMappings": True}}]}
        (self.dir / "cni" / "10-bridge.conflist").write_text(json.dumps(network))
        (self.dir / "conf" / "containerd.toml").write_text(f"""version = 2
root = "{self.dir}/containerd"
state = "{STATE}/containerd"
[grpc]
  address = "{self.containerd}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{self.dir}/cni"
""")
        self.spawn("containerd", "containerd", "-c", self.dir / "conf" / "containerd.toml")
        self.ready("containerd", 30, lambda: self.ctr("version", check=False).returncode == 0)
        self.load(images)

    def ctr(self, *arguments, **options):
        return run("ctr", "-a", self.containerd, "-n", "k8s.io", *arguments, **options)

    def load(self, images):
        for image in images:
            self.ctr("images", "import", "--all-platforms", image)

    def node(self):
        pki, conf, ports = self.dir / "pki", self.dir / "conf", self.facts["ports"]
        (conf / "kubelet.json").write_text(json.dumps({
            "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
            "containerRuntimeEndpoint": f"unix://{self.containerd}", "cgroupDriver": "cgroupfs",
            "failCgroupV1": False, "failSwapOn": False,
            "featureGates": {"KubeletInUserNamespace": True},  # root here may lack CAP_SYS_RESOURCE
            "authentication": {"anonymous": {"enabled": False}, "webhook": {"enabled": True},
                               "x509": {"clientCAFile": f"{pki}/ca.crt"}},
            "authorization": {"mode": "Webhook"}, "tlsCertFile": f"{pki}/kubelet.crt",
            "tlsPrivateKeyFile": f"{pki}/kubelet.key", "port": ports["kubelet"], "healthzPort": ports["healthz"],
            "clusterDNS": [NODE_IP], "clusterDomain": "cluster.local",
            "imageGCHighThresholdPercent": 100,  # what is deleted could not be pulled again
            "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%",
                             "nodefs.inodesFree": "1%"},
            "syncFrequency": "10s"}))
        (conf / "proxy.json").write_text(json.dumps({
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration",
            "clientConnection": {"kubeconfig": f"{conf}/proxy.kubeconfig"}, "mode": "iptables",
            "clusterCIDR": PODS, "hostnameOverride": NODE, "oomScoreAdj": 0,
            "healthzBindAddress": f"127.0.0.1:{ports['proxy']}",
            "metricsBindAddress": f"127.0.0.1:{ports['metrics']}",
            "conntrack": {"maxPerCore": 0, "min": 0}}))
        self.spawn("dns", sys.executable, HERE / "dns.py", NODE_IP, self.kubeconfig)
        self.kubelet()
        self.spawn("kube-proxy", "kube-proxy", f"--config={conf}/proxy.json")
        self.ready("kubelet", 120, lambda: self.kubectl(
            "wait", "--for=condition=Ready", f"node/{NODE}", "--timeout=1s", check=False).returncode == 0)
        wait("the default service account", 60, lambda: self.kubectl(
            "-n", "default", "get", "serviceaccount", "default", check=False).returncode == 0)
        for name in ORDER:
            self.ready(name, 1, lambda: True)

    def kubelet(self):
        self.spawn("kubelet", "kubelet", f"--config={self.dir}/conf/kubelet.json",
                   f"--kubeconfig={self.dir}/conf/kubelet.kubeconfig", f"--hostname-override={NODE}",
                   f"--node-ip={NODE_IP}", f"--root-dir={KUBELET}", "--v=2")

    # --- stop ----------------------------------------------------------------

    def stop(self, purge):
        if not self.facts:  # kubelet's directory and all the rest are another's
            raise ClusterError(f"{self.dir} has no cluster: nothing is ended")
        for name in ("kubelet", "kube-proxy", "kube-scheduler", "kube-controller-manager"):
            self.end(name)
        if self.pid("containerd"):
            self.end_containers()
        for name in ("kube-apiserver", "etcd", "dns", "containerd"):
            self.end(name)
        end_mounters()
        for prefix in (KUBELET, STATE, self.dir / "containerd"):
            for point in mounts(prefix):
                if point != str(KUBELET) or purge:
                    run("umount", "-l", point, check=False)
        if purge:
            self.purge()

    def end_containers(self):
        """While containerd still answers; what it does not end, its shims are asked to by their own pids."""
        for _ in range(3):
            tasks = self.ctr("tasks", "ls", "-q", check=False).stdout.split()
            for task in tasks:
                self.ctr("tasks", "kill", "-a", "-s", "SIGKILL", task, check=False, timeout=20)
            for task in tasks:
                self.ctr("tasks", "rm", "-f", task, check=False, timeout=20)
        for container in self.ctr("containers", "ls", "-q", check=False).stdout.split():
            self.ctr("containers", "rm", container, check=False, timeout=20)
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                command = (process / "cmdline").read_text()
                if command.startswith("/usr/bin/containerd-shim") and str(self.containerd) in command:
                    os.kill(int(process.name), signal.SIGKILL)

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
            for group, _, _ in os.walk(top, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(group)


def mounter_groups():
    return [p for top in ("/sys/fs/cgroup/skyvol", "/sys/fs/cgroup/memory/skyvol") for p in Path(top).glob("*/")]


def end_mounters():
    """Mounters outlive their holder's pod; each is in a group of its own."""
    for group in mounter_groups():
        with contextlib.suppress(OSError):
            for pid in (group / "cgroup.procs").read_text().split():
                os.kill(int(pid), signal.SIGKILL)
            wait("end of mounters", 5, lambda group=group: not (group / "cgroup.procs").read_text())
            group.rmdir()
    for top in ("/sys/fs/cgroup/skyvol", "/sys/fs/cgroup/memory/skyvol"):
        with contextlib.suppress(OSError):
            os.rmdir(top)


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
