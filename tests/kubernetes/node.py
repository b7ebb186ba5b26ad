# SPDX-License-Identifier: Apache-2.0
"""A node of the test cluster: containerd, kubelet and kube-proxy, and where its things lie.

The first node is the machine as it is. The second one has network, mounts and control groups of its own, which are
those of the process node2-space (space.py); its programs are started in them. Its pods' network is a bridge as the
first one's, and a pair of interfaces joins the two: what is for the other node's pods is routed there.
"""
import contextlib
import json
import os
import shutil
import signal
import sys
from pathlib import Path

from machine import CGROUPS, KUBELET, SECOND, STATE, ClusterError, hierarchies, remove_groups, run, wait

HERE = Path(__file__).resolve().parent
BRIDGE = "skyvolk8s0"
LINK, LINK_NETWORK, LINK_HERE, LINK_THERE = "skyvolk8s1", 30, "10.245.0.1", "10.245.0.2"
PODS = "10.244.0.0/16"  # of all nodes


class Node:
    """The first one: in the machine's own namespaces."""

    number, prefix, enter, groups = 0, "", (), ()

    def __init__(self, cluster):
        self.cluster = cluster
        self.name, self.address = f"node{self.number + 1}", f"10.244.{self.number}.1"
        self.pods = f"10.244.{self.number}.0/24"
        self.dir, self.state = cluster.dir, STATE
        self.containerd = self.state / "containerd.sock"

    def spawn(self, name, *command):
        self.cluster.spawn(self.prefix + name, *self.enter, *command, groups=self.groups)

    def ctr(self, *arguments, **options):
        return run("ctr", "-a", self.containerd, "-n", "k8s.io", *arguments, **options)

    def load(self, images):
        for image in images:
            self.ctr("images", "import", "--all-platforms", image)

    def bridge(self, *within):
        """The node's address is on it."""
        run(*within, "ip", "link", "add", BRIDGE, "type", "bridge")
        run(*within, "ip", "addr", "add", f"{self.address}/24", "dev", BRIDGE)
        run(*within, "ip", "link", "set", BRIDGE, "up")

    def containers(self, images):
        network = {"cniVersion": "0.4.0", "name": "test", "plugins": [
            {"type": "bridge", "bridge": BRIDGE, "isGateway": True, "ipMasq": True, "hairpinMode": True,
             "ipam": {"type": "host-local", "dataDir": f"{self.state}/addresses",
                      "ranges": [[{"subnet": self.pods, "rangeStart": f"10.244.{self.number}.10",
                                   "gateway": self.address}]],
                      "routes": [{"dst": "0.0.0.0/0"}]}},
            {"type": "portmap", "capabilities": {"portMappings": True}}]}
        for name in ("cni", "conf"):
            (self.dir / name).mkdir(exist_ok=True)
        (self.dir / "cni" / "10-bridge.conflist").write_text(json.dumps(network))
        (self.dir / "conf" / "containerd.toml").write_text(f"""version = 2
root = "{self.dir}/containerd"
state = "{self.state}/containerd"
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
        self.cluster.ready(f"{self.prefix}containerd", 60, lambda: self.ctr("version", check=False).returncode == 0)
        self.load(images)

    def kubelet(self):
        self.spawn("kubelet", "kubelet", f"--config={self.dir}/conf/kubelet.json",
                   f"--kubeconfig={self.kubeconfig()}", f"--hostname-override={self.name}",
                   f"--node-ip={self.address}", f"--root-dir={KUBELET}", "--v=2")

    def certificate(self):
        """kubelet's, and what it says of itself to the API server."""
        self.cluster.certificate(f"{self.prefix}kubelet", f"/O=system:nodes/CN=system:node:{self.name}",
                                 f"IP:{self.address},DNS:{self.name}")

    def kubeconfig(self):
        return self.cluster.dir / "conf" / f"{self.prefix}kubelet.kubeconfig"

    def start(self):
        cluster, pki, conf, ports = self.cluster, self.cluster.dir / "pki", self.dir / "conf", self.cluster.facts["ports"]
        certificate = pki / f"{self.prefix}kubelet"
        (conf / "kubelet.json").write_text(json.dumps({
            "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
            "containerRuntimeEndpoint": f"unix://{self.containerd}", "cgroupDriver": "cgroupfs",
            "failCgroupV1": False, "failSwapOn": False,
            "featureGates": {"KubeletInUserNamespace": True},  # root here may lack CAP_SYS_RESOURCE
            "authentication": {"anonymous": {"enabled": False}, "webhook": {"enabled": True},
                               "x509": {"clientCAFile": f"{pki}/ca.crt"}},
            "authorization": {"mode": "Webhook"}, "tlsCertFile": f"{certificate}.crt",
            "tlsPrivateKeyFile": f"{certificate}.key", "port": ports["kubelet"], "healthzPort": ports["healthz"],
            "clusterDNS": [cluster.first.address], "clusterDomain": "cluster.local",
            "imageGCHighThresholdPercent": 100,  # what is deleted could not be pulled again
            "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%",
                             "nodefs.inodesFree": "1%"},
            "syncFrequency": "10s"}))
        (conf / "proxy.json").write_text(json.dumps({
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration",
            "clientConnection": {"kubeconfig": f"{cluster.dir}/conf/proxy.kubeconfig"}, "mode": "iptables",
            "clusterCIDR": PODS, "hostnameOverride": self.name, "oomScoreAdj": 0,
            "healthzBindAddress": f"127.0.0.1:{ports['proxy']}",
            "metricsBindAddress": f"127.0.0.1:{ports['metrics']}",
            "conntrack": {"maxPerCore": 0, "min": 0}}))
        self.kubelet()
        self.spawn("kube-proxy", "kube-proxy", f"--config={conf}/proxy.json")
        cluster.ready(f"{self.prefix}kubelet", 120, lambda: cluster.kubectl(
            "wait", "--for=condition=Ready", f"node/{self.name}", "--timeout=1s", check=False).returncode == 0)

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


class Second(Node):
    number, prefix = 1, "node2-"

    def __init__(self, cluster):
        super().__init__(cluster)
        self.dir, self.state = cluster.dir / self.name, STATE / self.name
        self.containerd = self.state / "containerd.sock"

    def pid(self):
        """Of the process whose namespaces are the node's; none where there is no second node."""
        return self.cluster.pid("node2-space")

    @property
    def enter(self):
        return "nsenter", f"--target={self.pid()}", "--mount", "--net", "--cgroup"

    @property
    def groups(self):
        return [top / SECOND / ("init" if top == CGROUPS else "") for top in hierarchies()]

    def path(self, path):
        """Of the node, as the machine sees it."""
        return Path(f"/proc/{self.pid()}/root{path}")

    def join(self, images):
        """From nothing to a node that is Ready."""
        for path in (self.dir / "own", self.state):
            path.mkdir(parents=True)
        tops = [top / SECOND for top in hierarchies()]
        for top in tops:
            top.mkdir()
            for name in ("cpuset.cpus", "cpuset.mems"):  # of version 1: empty at first, and then nothing may enter
                if (top / name).exists() and not (top / name).read_text().strip():
                    (top / name).write_text((top.parent / name).read_text())
        self.cluster.spawn("node2-space", "unshare", "--mount", "--net", "--cgroup", "--propagation", "private",
                           sys.executable, HERE / "space.py", self.dir / "own", STATE, self.cluster.dir, groups=tops)
        self.cluster.ready("node2-space", 60, (self.dir / "own/ready").exists)
        shutil.copyfile(self.cluster.dir / "pid/node2-space", self.state / "pid")
        self.network()
        self.containers(images)
        self.certificate()
        self.start()

    def network(self):
        within = ["nsenter", f"--target={self.pid()}", "--net"]
        run("ip", "link", "add", LINK, "type", "veth", "peer", "name", LINK, "netns", self.pid())
        for where, own, other, pods in (((), LINK_HERE, LINK_THERE, self.pods), (within, LINK_THERE, LINK_HERE, "default")):
            run(*where, "ip", "addr", "add", f"{own}/{LINK_NETWORK}", "dev", LINK)
            run(*where, "ip", "link", "set", LINK, "up")
            run(*where, "ip", "route", "add", pods, "via", other)
        run(*within, "ip", "link", "set", "lo", "up")
        self.bridge(*within)
        run(*within, "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
        run(*within, "ip", "route", "change", "default", "via", LINK_HERE, "src", self.address)

    def leave(self):
        """As a machine that is switched off; nothing of it stays."""
        for name in ("kubelet", "kube-proxy"):
            self.cluster.end(self.prefix + name)
        if self.cluster.pid(f"{self.prefix}containerd"):
            self.end_containers()
        self.cluster.end(f"{self.prefix}containerd")
        for pid in self.processes():  # mounters, and what else outlives a container
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait("the end of the second node's processes", 20, lambda: not self.processes())
        self.cluster.end(f"{self.prefix}space")
        run("ip", "link", "del", LINK, check=False)
        for top in hierarchies():
            remove_groups(top / SECOND)
        left = [str(top / SECOND) for top in hierarchies() if (top / SECOND).exists()]
        if left or Path("/sys/class/net", LINK).exists():
            raise ClusterError(f"of the second node there is still {left or LINK}")
        shutil.rmtree(self.dir, ignore_errors=True)
        shutil.rmtree(self.state, ignore_errors=True)

    def processes(self):
        """All that are in its control groups, but for that whose namespaces are the node's."""
        found = set()
        for top in hierarchies():
            for group in [top / SECOND, *(top / SECOND).rglob("*/")]:
                with contextlib.suppress(OSError):
                    found |= {int(pid) for pid in (group / "cgroup.procs").read_text().split()}
        return found - {self.pid()}
