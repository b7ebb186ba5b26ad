# SPDX-License-Identifier: Apache-2.0
"""skyvol-node takes its taint off its own node once volumes can be mounted there, and not before."""
import pytest
from conftest import program, wait_until
from fake_kube import FakeKube
from test_register import Kubelet, ready, start_node

KEY = "csi.skyvol.io/agent-not-ready"


def taint(key, value=None):
    return {"key": key, "effect": "NoExecute", **({"value": value} if value else {})}


@pytest.fixture
def kube():
    server = FakeKube()
    for name in ("node-1", "node-2"):
        server.put("v1", "nodes", {"metadata": {"name": name}, "spec": {
            "taints": [taint("a"), taint(KEY), taint("b", "c")]}})
    yield server
    server.close()


@pytest.fixture
def kubelet(workdir):
    return Kubelet(workdir)


def taints(kube, name="node-1"):
    return [t["key"] for t in kube.get("v1", "nodes", name)["spec"].get("taints", [])]


def start(workdir, processes, kube, *options):
    return ready(start_node(workdir, processes, "--ready-taint", KEY, *kube.options(workdir), *options))


def start_holder(workdir, processes):
    holder = processes.start([program("skyvol-holder"), "--socket", workdir / "holder.sock"])
    wait_until((workdir / "holder.sock").exists, what="holder", process=holder)


def test_the_taint_goes_when_kubelet_and_holder_are_ready(workdir, processes, kube, kubelet):
    node = start(workdir, processes, kube, "--registration-dir", kubelet.registry)
    assert not kube.calls(), "kubelet has not registered it"
    kubelet.register()
    assert not kube.calls(), "there is no holder"
    start_holder(workdir, processes)
    wait_until(lambda: taints(kube) == ["a", "b"], what="the end of the taint", process=node)
    assert KEY in taints(kube, "node-2")
    assert {c["path"] for c in kube.calls()} == {"/api/v1/nodes/node-1"}
    assert "own-token" not in node.log.read_text()


def test_a_taint_that_is_back_goes_with_the_next_registration(workdir, processes, kube, kubelet):
    start_holder(workdir, processes)
    node = start(workdir, processes, kube, "--registration-dir", kubelet.registry)
    kubelet.register()
    wait_until(lambda: KEY not in taints(kube), what="the end of the taint", process=node)
    kube.put("v1", "nodes", {"metadata": {"name": "node-1"}, "spec": {"taints": [taint(KEY), taint(KEY, "x")]}})
    kubelet.register()
    wait_until(lambda: taints(kube) == [], what="the end of both", process=node)


def test_a_list_of_taints_that_changes_meanwhile_loses_no_other(workdir, processes, kube, kubelet):
    """The list that was read is old when the patch comes: it must not take what lies there now."""
    start_holder(workdir, processes)
    old = {"metadata": {"name": "node-1"}, "spec": {"taints": [taint(KEY), taint("x")]}}
    kube.put("v1", "nodes", {"metadata": {"name": "node-1"}, "spec": {"taints": [taint("new"), taint(KEY)]}})
    kube.fault(method="GET", path="/nodes/node-1", status=200, body=old)
    node = start(workdir, processes, kube, "--registration-dir", kubelet.registry)
    kubelet.register()
    wait_until(lambda: taints(kube) == ["new"], what="the end of the taint", process=node)
    assert len(kube.calls("PATCH")) == 2


def test_without_the_right_to_do_it_the_log_says_so_and_it_is_tried_again(workdir, processes, kube, kubelet):
    start_holder(workdir, processes)
    kube.fault(method="PATCH", status=403, body={"reason": "Forbidden", "message": "no patch for you"})
    kube.fault(method="GET", status=429, headers={"Retry-After": "1"})
    node = start(workdir, processes, kube, "--registration-dir", kubelet.registry)
    kubelet.register()
    wait_until(lambda: KEY not in taints(kube), what="the end of the taint", process=node)
    assert "no patch for you" in node.log.read_text()


def test_beside_a_registrar_the_question_who_we_are_is_the_sign(workdir, processes, kube, kubelet):
    start_holder(workdir, processes)
    node = start(workdir, processes, kube)
    assert not kube.calls()
    kubelet.csi(workdir / "plugins" / "node.sock", "Node/NodeGetInfo")
    wait_until(lambda: KEY not in taints(kube), what="the end of the taint", process=node)


def test_an_api_server_that_hangs_does_not_hold_the_end(workdir, processes, kube, kubelet):
    start_holder(workdir, processes)
    kube.fault(delay=60)
    node = start(workdir, processes, kube, "--registration-dir", kubelet.registry)
    kubelet.register()
    wait_until(lambda: kube.calls(), what="the call", process=node)
    processes.stop(node, seconds=10)
    assert node.returncode == 0
