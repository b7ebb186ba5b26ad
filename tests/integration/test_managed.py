# SPDX-License-Identifier: Apache-2.0
"""Managed volumes: sessions with the metaserver, what they keep others from, and how they end."""
import subprocess
import time

import pytest
from conftest import program, wait_until
from test_meta import Meta

LEASE = ("--session-lease", "1500ms")


@pytest.fixture
def meta(workdir, processes):
    server = Meta(workdir, processes)
    server.start(options=LEASE)
    server.call("Stores/AddStore", {"store": {"name": "default",
                                              "location": f"dir://{server.store}"}})
    return server


def attach(meta, volume, node):
    return meta.call("Volumes/AttachVolume", {"id": volume["id"], "node": node})["volumeToken"]


def opened(meta, volume, node, token=None, check=True, **wishes):
    return meta.call("Sessions/OpenSession", {
        "volume_id": volume["id"], "node": node, "mount": "m",
        "volume_token": token or attach(meta, volume, node), **wishes}, check=check)


def of(session, **fields):
    return {"session_id": session["sessionId"], "epoch": session["epoch"], **fields}


def lock(meta, session, check=True, **fields):
    return meta.call("Leases/AcquireLease", of(
        session, **{"key": "k", "kind": "LEASE_LOCK_EXCLUSIVE", **fields}), check=check)


def test_a_token_opens_one_volume_for_one_node(meta):
    one, other = meta.create("one"), meta.create("other")
    token = attach(meta, one, "n1")
    assert opened(meta, one, "n1", token)["leaseMs"] == "1500"
    for volume, node, wrong in ((other, "n1", token), (one, "n2", token), (one, "n1", "0" * 64),
                                (one, "n1", token[:-1])):
        assert "Unauthenticated" in opened(meta, volume, node, wrong, check=False)[1]
    assert "InvalidArgument" in opened(meta, one, "", token, check=False)[1]
    meta.processes.stop(meta.process)
    for file in [*meta.dir.glob("meta.db*"), meta.process.log]:
        assert token.encode() not in file.read_bytes(), file


def test_a_volume_for_one_node_refuses_the_next_until_the_lease_ends(meta):
    volume = meta.create("one")
    opened(meta, volume, "n1", exclusive=True)
    why = opened(meta, volume, "n2", check=False, exclusive=True)[1]
    assert "FailedPrecondition" in why and "node n1" in why and "lease ends at 20" in why
    wait_until(lambda: opened(meta, volume, "n2", check=False, exclusive=True)[0] == 0, 5, "lapse")


def test_a_volume_is_not_deleted_while_it_is_mounted(meta):
    volume = meta.create("one")
    sessions = [opened(meta, volume, node) for node in ("n1", "n2")]
    why = meta.call("Volumes/DeleteVolume", {"id": volume["id"]}, check=False)[1]
    assert "FailedPrecondition" in why and "nodes n1, n2" in why
    shown = subprocess.run([program("skyvolctl"), "volume", "show", "one", "--meta",
                            f"unix:{meta.socket}"], capture_output=True, text=True, check=True)
    assert "n1" in shown.stdout and "several nodes" in shown.stdout
    assert sessions[0]["sessionId"] not in shown.stdout
    for session in sessions:
        meta.call("Sessions/CloseSession", of(session))
    meta.call("Volumes/DeleteVolume", {"id": volume["id"]})
    assert "NotFound" in opened(meta, volume, "n1", "x", check=False)[1] or \
           "Unauthenticated" in opened(meta, volume, "n1", "x", check=False)[1]


def test_a_newer_session_fences_the_older_and_a_session_touches_its_own_volume_only(meta):
    one, other = meta.create("one"), meta.create("other")
    old = opened(meta, one, "n1")
    assert lock(meta, old)["granted"]
    new = opened(meta, one, "n1")
    assert "Aborted" in meta.call("Sessions/RenewSession", of(old), check=False)[1]
    assert "Aborted" in lock(meta, old, check=False)[1]
    assert lock(meta, new)["granted"]  # the older one's are gone
    stranger = opened(meta, other, "n1")
    assert lock(meta, stranger)["granted"]  # the same key of another volume
    taken = lock(meta, opened(meta, one, "n2"))
    assert not taken.get("granted") and taken["conflict"]["node"] == "n1"
    meta.call("Leases/ReleaseLease", of(stranger, key="k", kind="LEASE_LOCK_SHARED"))
    assert not lock(meta, opened(meta, one, "n2")).get("granted")


def test_a_lock_is_waited_for_and_outlives_the_metaserver_but_not_its_session(meta):
    volume = meta.create("one")
    holder, waiter = opened(meta, volume, "n1"), opened(meta, volume, "n2")
    assert lock(meta, holder)["granted"]
    meta.kill()
    meta.start(options=LEASE)
    begun = time.monotonic()
    taken = lock(meta, waiter, wait_ms=200)
    assert not taken.get("granted") and time.monotonic() - begun < 5
    meta.call("Sessions/RenewSession", of(waiter))
    assert lock(meta, waiter, wait_ms=10000)["granted"]  # the holder's lease has ended
    assert "NotFound" in meta.call("Sessions/RenewSession", of(holder), check=False)[1]


@pytest.mark.parametrize("fields", [
    {"key": ""}, {"key": "k" * 1100}, {"kind": 0}, {"kind": 77}, {"offset": 1 << 63},
    {"offset": 9, "len": (1 << 63) - 1}])
def test_what_is_no_lock_is_refused(meta, fields):
    session = opened(meta, meta.create("one"), "n1")
    assert "InvalidArgument" in lock(meta, session, check=False, **fields)[1]
