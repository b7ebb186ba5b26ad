# SPDX-License-Identifier: Apache-2.0
"""The memory of a mount stays what was set, whatever is open and dirty."""
import os
import pathlib
import resource
import subprocess

import pytest

from conftest import program, wait_until

MIB = 1024 * 1024


class Mount:
    def __init__(self, workdir, processes, store, memory):
        self.point = pathlib.Path(workdir / "mnt")
        self.point.mkdir()
        self.client = store.client()
        self.client.create_bucket(Bucket="bucket")
        env = dict(os.environ, AWS_ACCESS_KEY_ID=store.access_key,
                   AWS_SECRET_ACCESS_KEY=store.secret_key)
        self.process = processes.start(
            [program("skyvol-mount"), "s3://bucket", self.point, "-f", "-o",
             f"endpoint={store.url},region={store.region},sync=fsync,memory={memory}"], env=env)
        wait_until(lambda: os.path.ismount(self.point), what="mount", process=self.process)

    def resident(self):
        """Its own pages and those of kept memory, in bytes; not those of files."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text().split("\n")
        sizes = {line.split(":")[0]: int(line.split()[1]) for line in status if "kB" in line}
        return (sizes["RssAnon"] + sizes["RssShmem"]) * 1024

    def unmount(self):
        subprocess.run(["umount", self.point], check=True, timeout=120)


@pytest.fixture
def mount(workdir, processes, minio):
    if not os.path.exists("/dev/fuse"):
        pytest.skip("no /dev/fuse")
    made = []

    def make(memory):
        made.append(Mount(workdir, processes, minio, memory))
        return made[-1]

    yield make
    for one in made:
        if os.path.ismount(one.point):
            subprocess.run(["umount", "-l", one.point], check=False, timeout=60)


def open_and_write(mount, count, size):
    """Keeps them open; the most that the mounter had meanwhile."""
    most, files = 0, []
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        for i in range(count):
            if i % 1000 == 0:
                (mount.point / str(i // 1000)).mkdir()
            file = os.open(mount.point / str(i // 1000) / f"f{i}", os.O_CREAT | os.O_RDWR)
            os.write(file, (b"%08d" % i) * (size // 8))
            files.append(file)
            if i % 200 == 0:
                most = max(most, mount.resident())
        for i in range(0, count, max(1, count // 50)):
            assert os.pread(files[i], size, 0) == (b"%08d" % i) * (size // 8)
        return max(most, mount.resident())
    finally:
        for file in files:
            os.close(file)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def check_stored(mount, count, size):
    def keys():
        pages = mount.client.get_paginator("list_objects_v2").paginate(Bucket="bucket")
        return [o["Key"] for page in pages for o in page.get("Contents", [])
                if not o["Key"].endswith("/") and not o["Key"].startswith(".skyvol/")]

    wait_until(lambda: len(keys()) == count, seconds=120, what=f"{count} objects")
    for i in range(0, count, max(1, count // 20)):
        body = mount.client.get_object(Bucket="bucket", Key=f"{i // 1000}/f{i}")["Body"].read()
        assert body == (b"%08d" % i) * (size // 8)


def test_a_thousand_small_dirty_files_stay_open_without_being_sent(mount):
    """A page each: they fit the smallest pool, so nothing has to be published before its close."""
    one = mount(64 * MIB)
    most = open_and_write(one, 1000, 800)
    assert most < 40 * MIB, f"{most / MIB:.0f} MiB"
    check_stored(one, 1000, 800)
    one.unmount()


@pytest.mark.full
@pytest.mark.parametrize("memory", [64 * MIB, 256 * MIB])
def test_ten_thousand_dirty_files_are_open_within_the_memory(mount, memory):
    one = mount(memory)
    most = open_and_write(one, 10000, 8000)
    print(f"10,000 open dirty files of 8,000 bytes, memory={memory // MIB}M: "
          f"at most {most / MIB:.1f} MiB")
    assert most < memory
    check_stored(one, 10000, 8000)
    one.unmount()
