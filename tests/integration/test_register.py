# SPDX-License-Identifier: Apache-2.0
"""skyvol-node is registered with kubelet without a sidecar, and tells whether it lives without one.

The kubelet here does what the real one does with its directory plugins_registry. It has the API from its
own words, not from our .proto: what is not the same on the wire does not work.
"""
import json
import os
import signal
import socket
import subprocess
import urllib.error
import urllib.request

import pytest
from conftest import ROOT, free_port, program, tool, wait_until

API = """syntax = "proto3"; package pluginregistration;
message InfoRequest {}
message PluginInfo { string type = 1; string name = 2; string endpoint = 3; repeated string supported_versions = 4; }
message RegistrationStatus { bool plugin_registered = 1; string error = 2; }
message RegistrationStatusResponse {}
service Registration {
  rpc GetInfo(InfoRequest) returns (PluginInfo) {}
  rpc NotifyRegistrationStatus(RegistrationStatus) returns (RegistrationStatusResponse) {}
}
"""
DRIVER = "csi.skyvol.io"


class Kubelet:
    """Its plugin manager: which sockets lie there, and the two calls of each."""

    def __init__(self, workdir):
        self.registry = workdir / "plugins_registry"
        self.registry.mkdir()
        self.protos = workdir / "protos"
        self.protos.mkdir()
        (self.protos / "api.proto").write_text(API)

    def sockets(self):
        return sorted(p.name for p in self.registry.iterdir() if p.is_socket())

    def call(self, path, proto, method, message):
        # grpc-go gives a path as the authority, and so does kubelet
        done = subprocess.run([tool("grpcurl"), "-plaintext", "-unix", "-authority", str(path), "-max-time", "10",
                               "-import-path", proto.parent, "-proto", proto.name, "-emit-defaults", "-d",
                               json.dumps(message), path, method], capture_output=True, text=True, check=False,
                              timeout=30)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def registration(self, method, message):
        (name,) = self.sockets()
        return self.call(self.registry / name, self.protos / "api.proto",
                         f"pluginregistration.Registration/{method}", message)

    def csi(self, path, method):
        return self.call(path, ROOT / "proto" / "csi.proto", f"csi.v1.{method}", {})

    def register(self):
        """What kubelet does with a new socket, and after its own restart with all of them."""
        info = self.registration("GetInfo", {})
        assert info["type"] == "CSIPlugin" and info["supportedVersions"] == ["1.0.0"]
        node = self.csi(info["endpoint"], "Node/NodeGetInfo")
        assert self.registration("NotifyRegistrationStatus", {"plugin_registered": True}) == {}
        return info, node["nodeId"]


@pytest.fixture
def kubelet(workdir):
    return Kubelet(workdir)


def start_node(workdir, processes, *options, name="node"):
    return processes.start(
        [program("skyvol-node"), "--endpoint", f"unix://{workdir}/plugins/node.sock", "--holder",
         workdir / "holder.sock", "--state-dir", workdir / "state", "--mounts-dir", workdir / "mounts",
         "--node-id", "node-1", "--status", f"unix:{workdir}/status.sock", *options], name)


def ready(node):
    wait_until(lambda: "msg=ready" in node.log.read_text(), what="node plugin", process=node)
    return node


def test_kubelet_registers_the_driver_and_does_so_again_after_its_restart(workdir, processes, kubelet):
    node = ready(start_node(workdir, processes, "--registration-dir", kubelet.registry))
    assert kubelet.sockets() == [f"{DRIVER}-reg.sock"]
    assert (kubelet.registry / f"{DRIVER}-reg.sock").stat().st_mode & 0o777 == 0o600
    for _ in range(2):
        info, node_id = kubelet.register()
        assert (info["name"], info["endpoint"]) == (DRIVER, f"{workdir}/plugins/node.sock")
        assert node_id == "node-1"
    assert node.log.read_text().count("registered with kubelet") == 2
    assert "skyvol_node_registered 1" in metrics(workdir)


def test_the_path_that_kubelet_sees_may_be_another_than_ours(workdir, processes, kubelet):
    (workdir / "host").symlink_to(workdir / "plugins")
    ready(start_node(workdir, processes, "--registration-dir", kubelet.registry, "--kubelet-registration-path",
                     f"{workdir}/host/node.sock"))
    assert kubelet.register()[0]["endpoint"] == f"{workdir}/host/node.sock"


def test_a_socket_that_a_killed_plugin_left_is_replaced_and_ours_goes_with_us(workdir, processes, kubelet):
    node = ready(start_node(workdir, processes, "--registration-dir", kubelet.registry))
    processes.stop(node, how=signal.SIGKILL)
    assert kubelet.sockets() == [f"{DRIVER}-reg.sock"]
    node = ready(start_node(workdir, processes, "--registration-dir", kubelet.registry, name="again"))
    kubelet.register()
    processes.stop(node)
    assert kubelet.sockets() == []
    assert node.returncode == 0


def test_a_socket_that_somebody_removed_is_there_again(workdir, processes, kubelet):
    node = ready(start_node(workdir, processes, "--registration-dir", kubelet.registry))
    kubelet.register()
    (kubelet.registry / f"{DRIVER}-reg.sock").unlink()
    wait_until(lambda: kubelet.sockets() == [f"{DRIVER}-reg.sock"], what="socket", process=node)
    assert "skyvol_node_registered 0" in metrics(workdir)
    kubelet.register()
    assert "skyvol_node_registered 1" in metrics(workdir)


def test_a_refusal_is_told_with_its_reason_and_may_be_taken_back(workdir, processes, kubelet):
    node = ready(start_node(workdir, processes, "--registration-dir", kubelet.registry))
    kubelet.registration("NotifyRegistrationStatus", {"plugin_registered": False, "error": "no such node yet"})
    assert "no such node yet" in node.log.read_text()
    assert "skyvol_node_registered 0" in metrics(workdir)
    kubelet.register()
    assert "skyvol_node_registered 1" in metrics(workdir)


def test_beside_a_registrar_the_plugin_says_who_is_in_its_way(workdir, processes, kubelet):
    with socket.socket(socket.AF_UNIX) as registrar:
        registrar.bind(str(kubelet.registry / f"{DRIVER}-reg.sock"))
        registrar.listen()
        node = start_node(workdir, processes, "--registration-dir", kubelet.registry)
        assert node.wait(20) != 0
    assert "another process does" in node.log.read_text()
    assert kubelet.sockets() == [f"{DRIVER}-reg.sock"], "a socket of others is not removed"


def test_without_the_directory_it_says_which_one_is_meant(workdir, processes):
    node = start_node(workdir, processes, "--registration-dir", workdir / "none")
    assert node.wait(20) != 0
    assert "plugins_registry" in node.log.read_text()


def test_a_node_without_a_name_is_refused(workdir):
    done = subprocess.run([program("skyvol-node"), "--endpoint", f"unix:{workdir}/csi.sock", "--state-dir", workdir / "state",
                           "--mounts-dir", workdir / "mounts", "--node-id", ""], capture_output=True, text=True,
                          timeout=20, check=False)
    assert done.returncode != 0 and "--node-id is empty" in done.stderr


# ---- /healthz ----

def status(workdir, path):
    """(HTTP status, text) of the status address, a unix socket here."""
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(10)
        s.connect(str(workdir / "status.sock"))
        s.sendall(f"GET {path} HTTP/1.0\r\nHost: x\r\n\r\n".encode())
        answer = b"".join(iter(lambda: s.recv(65536), b"")).decode()
    head, _, body = answer.partition("\r\n\r\n")
    return int(head.split()[1]), body


def metrics(workdir):
    return status(workdir, "/metrics")[1]


def test_healthz_of_the_node_plugin_answers_what_probe_answers(workdir, processes):
    """There is neither holder nor metaserver nor store: that is no reason to restart the plugin."""
    node = ready(start_node(workdir, processes, "--meta", f"unix:{workdir}/no-meta.sock"))
    assert status(workdir, "/healthz") == (200, "ok\n")
    os.unlink(workdir / "plugins" / "node.sock")
    code, text = status(workdir, "/healthz")
    assert code == 503 and "socket" in text
    assert node.poll() is None


def test_healthz_of_the_controller_answers_what_probe_answers(workdir, processes):
    port = free_port()
    controller = processes.start([program("skyvol-controller"), "--endpoint", f"unix://{workdir}/c.sock", "--meta",
                                  f"unix:{workdir}/no-meta.sock", "--status", f"127.0.0.1:{port}"])
    wait_until(lambda: "msg=ready" in controller.log.read_text(), what="controller", process=controller)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=10) as answer:
        assert answer.read() == b"ok\n"
    os.unlink(workdir / "c.sock")
    with pytest.raises(urllib.error.HTTPError) as found:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=10)
    assert found.value.code == 503
