# SPDX-License-Identifier: Apache-2.0
"""-o attrs: what is known of files by listings alone, and when each has to be asked for."""
import errno
import itertools
import os
import subprocess
import time

import pytest
from rig import BUCKET

numbers = itertools.count()


class Volume:
    """An empty one of its own for each test."""

    def __init__(self, rig):
        self.rig, self.prefix, self.mounts = rig, f"v{next(numbers)}", []

    def mount(self, **options):
        self.rig.location = f"s3://{BUCKET}/{self.prefix}"
        mount = self.rig.mount(**options)
        self.mounts.append(mount)
        self.rig.proxy.reset_counts()
        return mount

    def notes(self):
        listed = self.rig.client().list_objects_v2(Bucket=BUCKET, Prefix=f"{self.prefix}/.skyvol/attrs/")
        return sorted(o["Key"].rsplit("/", 1)[1] for o in listed.get("Contents", []))


@pytest.fixture
def volume(rig):
    one = Volume(rig)
    yield one
    for mount in one.mounts:
        if mount.process.poll() is None:
            mount.end()


def make(base, count=40):
    for number in range(count):
        if number % 10 == 0:
            (base / f"d{number // 10}").mkdir()
        (base / f"d{number // 10}" / f"f{number}").write_text("content")


def long_list(where):
    out = subprocess.run(["ls", "-lR", "--time-style=+", where], check=True, capture_output=True,
                         text=True, timeout=60).stdout
    return out.replace(str(where), "")


def test_where_all_have_one_mode_and_owner_nothing_is_asked_for(rig, volume):
    mount = volume.mount(sync="fsync")
    make(mount.point)
    shown = long_list(mount.point)
    assert "-rw-r--r-- 1 root root" in shown
    mount.end()
    assert volume.notes() == ["complete", "dir-755-0-0", "file-644-0-0"]
    mount = volume.mount(attr_timeout=60)
    assert long_list(mount.point) == shown
    assert rig.proxy.seen["HEAD"] == 0, dict(rig.proxy.seen)


def test_where_modes_differ_each_file_is_asked_for_once(rig, volume):
    mount = volume.mount(sync="fsync")
    make(mount.point)
    (mount.point / "d1/f12").chmod(0o640)
    os.chown(mount.point / "d2/f23", 12, 34)
    shown = long_list(mount.point)
    assert "-rw-r-----" in shown
    mount.end()
    mount = volume.mount()
    assert long_list(mount.point) == shown
    assert 40 <= rig.proxy.seen["HEAD"] <= 50, dict(rig.proxy.seen)
    before = rig.proxy.seen["HEAD"]
    found = subprocess.run(["find", mount.point, "-type", "f"], check=True, capture_output=True,
                           text=True, timeout=60).stdout
    assert len(found.splitlines()) == 40
    assert rig.proxy.seen["HEAD"] <= before + 8, "types are known, and attributes by the ETag"


def test_attributes_are_asked_for_many_at_a_time_and_not_again(rig, volume):
    mount = volume.mount(sync="fsync")
    make(mount.point, 300)
    (mount.point / "d1/f12").chmod(0o640)
    mount.end()
    time.sleep(3.1)  # what is younger may change within the second that the store tells
    mount = volume.mount()
    shown = long_list(mount.point)
    seen = dict(rig.proxy.seen)
    assert seen["LIST"] <= 5 and 300 <= seen["HEAD"] <= 345, seen
    assert rig.proxy.most_in_flight >= 32
    time.sleep(1.1)
    rig.proxy.reset_counts()
    assert long_list(mount.point) == shown
    assert rig.proxy.seen["HEAD"] <= 4 and rig.proxy.seen["LIST"] <= 5, dict(rig.proxy.seen)


def test_links_and_set_times_are_seen_by_another_mount(volume):
    mount = volume.mount()
    make(mount.point, 3)
    os.symlink("d0/f1", mount.point / "link")
    os.utime(mount.point / "d0/f2", ns=(1, 1234567890123456789))
    os.setxattr(mount.point / "d0/f0", "user.a", b"b")
    mount.end()
    assert {"other", "special"} <= set(volume.notes())
    mount = volume.mount()
    assert {e.name: e.is_symlink() for e in os.scandir(mount.point)} == {"d0": False, "link": True}
    assert os.readlink(mount.point / "link") == "d0/f1"
    assert os.stat(mount.point / "d0/f2").st_mtime_ns == 1234567890123456789
    assert os.getxattr(mount.point / "d0/f0", "user.a") == b"b"


def test_another_mode_by_another_mount_is_seen_soon(volume):
    one = volume.mount()
    make(one.point, 3)
    two = volume.mount()
    assert os.stat(two.point / "d0/f1").st_mode & 0o777 == 0o644
    (one.point / "d0/f1").chmod(0o600)
    end = time.monotonic() + 10
    while os.stat(two.point / "d0/f1").st_mode & 0o777 != 0o600:
        assert time.monotonic() < end
        time.sleep(0.1)


def test_a_volume_that_was_not_empty_is_asked_for_each_file(rig, volume):
    rig.client().put_object(Bucket=BUCKET, Key=f"{volume.prefix}/a", Body=b"x",
                            Metadata={"mode": str(0o100640), "uid": "7"})
    mount = volume.mount()
    status = os.stat(mount.point / "a")
    assert (status.st_mode & 0o777, status.st_uid) == (0o640, 7)
    assert "complete" not in volume.notes()


def test_attrs_list_keeps_no_attributes_and_says_so(rig, volume):
    mount = volume.mount(attrs="list")
    make(mount.point, 3)
    for refused in (lambda: (mount.point / "d0/f0").chmod(0o600),
                    lambda: os.chown(mount.point / "d0/f0", 1, 1),
                    lambda: os.symlink("x", mount.point / "link"),
                    lambda: os.mkfifo(mount.point / "fifo")):
        with pytest.raises(OSError) as why:
            refused()
        assert why.value.errno == errno.ENOTSUP
    mount.end()
    assert volume.notes() == []
