# SPDX-License-Identifier: Apache-2.0
"""What programs see of a mount when several use one file at a time, or the store answers late."""
import errno
import os
import pathlib
import socket
import subprocess
import threading
import time

import pytest
from conftest import free_port, program, wait_until

SECONDS = 5


class LateAnswers:
    """In front of an S3 store: it is asked at once, but what it says of objects is told late.

    Between the two much can happen to the object, as it can on a real network.
    """

    def __init__(self, port, upstream, delay):
        self.upstream, self.delay = upstream, delay
        self.refuses = lambda line: False  # which requests are denied instead of passed on
        self.listener = socket.create_server(("127.0.0.1", port), backlog=256)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    @staticmethod
    def head(sock, rest):
        while b"\r\n\r\n" not in rest:
            data = sock.recv(65536)
            if not data:
                raise ConnectionError
            rest += data
        text, _, rest = rest.partition(b"\r\n\r\n")
        lines = [line for line in text.split(b"\r\n") if not line.lower().startswith(b"expect:")]
        fields = dict(line.lower().split(b":", 1) for line in lines[1:])
        return lines, {k: v.strip() for k, v in fields.items()}, rest

    @staticmethod
    def body(sock, fields, rest):
        if fields.get(b"transfer-encoding") == b"chunked":
            while not rest.endswith(b"0\r\n\r\n"):
                rest += sock.recv(65536)
            return rest, b""
        length = int(fields.get(b"content-length", 0))
        while len(rest) < length:
            rest += sock.recv(65536)
        return rest[:length], rest[length:]

    def serve(self, client):
        asked = told = b""
        with client, socket.create_connection(("127.0.0.1", self.upstream)) as store:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                while True:
                    lines, fields, asked = self.head(client, asked)
                    if b"expect" in fields:
                        client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                    data, asked = self.body(client, fields, asked)
                    if self.refuses(lines[0]):
                        client.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
                        continue
                    store.sendall(b"\r\n".join(lines) + b"\r\n\r\n" + data)
                    reply, fields, told = self.head(store, told)
                    is_head = lines[0].startswith(b"HEAD")
                    if not is_head and reply[0].split()[1] not in (b"204", b"304"):
                        data, told = self.body(store, fields, told)
                    else:
                        data = b""
                    if is_head or b"list-type" in lines[0]:
                        time.sleep(self.delay)
                    client.sendall(b"\r\n".join(reply) + b"\r\n\r\n" + data)
            except OSError:
                return


@pytest.fixture(params=["memory", "late answers"])
def target(request, workdir, processes):
    if not os.path.exists("/dev/fuse"):
        pytest.skip("no /dev/fuse")
    point = workdir / "mnt"
    point.mkdir()
    env = dict(os.environ)
    argv = [program("skyvol-mount"), "mem://bucket", point, "-f"]
    proxy = None
    if request.param == "late answers":
        minio = request.getfixturevalue("minio")
        minio.client().create_bucket(Bucket="bucket")
        port = free_port()
        proxy = LateAnswers(port, int(minio.url.rsplit(":", 1)[1]), 0.03)
        env.update(AWS_ACCESS_KEY_ID=minio.access_key, AWS_SECRET_ACCESS_KEY=minio.secret_key)
        argv = [program("skyvol-mount"), "s3://bucket", point, "-f", "-o",
                f"endpoint=http://127.0.0.1:{port},region={minio.region}"]
    process = processes.start(argv, env=env)
    wait_until(lambda: os.path.ismount(point), what="mount", process=process)
    yield pathlib.Path(point)
    subprocess.run(["umount", point], check=False, timeout=60)
    if proxy is not None:
        proxy.listener.close()


def together(*functions):
    """Run them at a time until SECONDS are over; their errors."""
    errors = []
    end = time.monotonic() + SECONDS

    def run(function):
        try:
            while time.monotonic() < end:
                function()
        except (OSError, AssertionError) as error:
            errors.append(repr(error))

    threads = [threading.Thread(target=run, args=(function,)) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


def test_what_several_append_to_one_file_is_all_there(target):
    """Each line is acknowledged by fsync or close; publications overlap with other writes."""
    path = target / "log"
    counts = [0, 0]
    kept = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)

    def keeps_it_open():
        os.write(kept, b"k%08d\n" % counts[0])
        os.fsync(kept)
        counts[0] += 1
        time.sleep(0.01)

    def opens_it_again():
        with open(path, "ab", buffering=0) as file:
            file.write(b"a%08d\n" % counts[1])
        counts[1] += 1

    def reads():
        acknowledged = sum(counts) * 10
        assert len(path.read_bytes()) >= acknowledged

    errors = together(keeps_it_open, opens_it_again, reads, reads)
    os.close(kept)
    assert errors == []
    lines = path.read_bytes().splitlines()
    assert min(counts) > 10
    assert [line for line in lines if line.startswith(b"k")] == [b"k%08d" % i
                                                                 for i in range(counts[0])]
    assert [line for line in lines if line.startswith(b"a")] == [b"a%08d" % i
                                                                 for i in range(counts[1])]
    assert os.listdir(target) == ["log"], "nobody else wrote: no conflict copies"


def test_names_come_and_go_for_all_at_once(target):
    """A late answer neither takes away what was just made nor brings back what was just removed."""
    count = [0]

    def makes_and_removes():
        name = target / f"n{count[0] % 3}"
        name.mkdir()
        assert name.is_dir()
        (name / "file").write_text("x")
        os.rename(name / "file", name / "moved")
        assert not (name / "file").exists()
        assert (name / "moved").read_text() == "x"
        (name / "moved").unlink()
        name.rmdir()
        assert not name.exists()
        count[0] += 1

    def looks():
        for number in range(3):
            for path in (f"n{number}", f"n{number}/file", f"n{number}/moved"):
                (target / path).exists()

    assert together(makes_and_removes, looks, looks) == []
    assert count[0] > 0
    assert os.listdir(target) == []


def test_a_new_symbolic_link_has_its_length_at_once(target):
    link = target / "link"
    link.symlink_to("where/it/leads")
    before = os.lstat(link)
    time.sleep(1.2)  # until the store is asked again
    assert before.st_size == os.lstat(link).st_size == len("where/it/leads")
    assert os.readlink(link) == "where/it/leads"


def test_a_time_before_1970_stays_before_it(target):
    file = target / "old"
    file.write_text("x")
    for ns in (-1, -999999999, -1000000000, -1500000000):
        os.utime(file, ns=(ns, ns))
        for _ in range(2):
            assert (os.stat(file).st_atime_ns, os.stat(file).st_mtime_ns) == (ns, ns)
            time.sleep(1.2)  # until the store is asked again


@pytest.mark.parametrize("moved, below", [("log", ""), ("dir", "log")])
def test_what_is_written_while_it_is_moved_is_under_the_new_name(target, moved, below):
    """A file as log rotation moves it, and a directory with the file in it."""
    if below:
        (target / f"{moved}0").mkdir()
    file = os.open(target / f"{moved}0" / below, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    count, name = [0], [0]

    def writes():
        os.write(file, b"%09d\n" % count[0])
        os.fsync(file)
        count[0] += 1

    def moves():
        os.rename(target / f"{moved}{name[0]}", target / f"{moved}{name[0] + 1}")
        name[0] += 1
        time.sleep(0.005)

    assert together(writes, moves) == []
    os.close(file)
    time.sleep(1.2)  # until the store is asked again
    assert os.listdir(target) == [f"{moved}{name[0]}"]
    lines = (target / f"{moved}{name[0]}" / below).read_bytes().splitlines()
    assert lines == [b"%09d" % i for i in range(count[0])]
    assert count[0] > 3 < name[0]


def test_a_removed_file_stays_removed_while_it_is_written(target):
    count = [0]

    def writes_and_removes():
        path = target / f"f{count[0]}"
        with open(path, "wb", buffering=0) as file:
            writer = threading.Thread(target=lambda: [(file.write(b"x" * 4096), os.fsync(file))
                                                      for _ in range(3)])
            writer.start()
            path.unlink()
            writer.join()
        count[0] += 1

    assert together(writes_and_removes) == []
    time.sleep(1.2)
    assert os.listdir(target) == []


def test_a_number_stays_with_its_file_and_is_nobody_elses(target):
    """st_ino: the same after a move, another one for a new file of the old name."""
    (target / "d").mkdir()
    for name in ("a", "d/a"):
        (target / name).write_bytes(b"x")
    numbers = {name: (target / name).stat().st_ino for name in ("a", "d/a", "d")}
    assert len(set(numbers.values())) == 3
    os.rename(target / "a", target / "b")
    os.rename(target / "d", target / "e")
    time.sleep(1.2)  # until the store is asked again
    assert (target / "b").stat().st_ino == numbers["a"]
    assert (target / "e").stat().st_ino == numbers["d"]
    assert (target / "e" / "a").stat().st_ino == numbers["d/a"]
    (target / "a").write_bytes(b"y")
    (target / "d").mkdir()
    seen = [(target / name).stat().st_ino for name in ("a", "b", "d", "e")]
    assert len(set(seen)) == 4


def test_a_reader_sees_no_zeros_while_dirty_bytes_become_an_object(target):
    """Each read is of the bytes in memory or of those in the store, not of neither."""
    block = 300_000
    count, seen = [0], [0]
    writing = os.open(target / "file", os.O_CREAT | os.O_WRONLY)

    def writes():
        count[0] = count[0] % 250 + 1
        os.pwrite(writing, bytes([count[0]]) * block, 0)
        os.fsync(writing)

    def reads():
        file = os.open(target / "file", os.O_RDONLY | os.O_DIRECT)
        data = os.read(file, block)
        os.close(file)
        assert data == b"" or (len(data) == block and 0 not in data), data.count(0)
        seen[0] += 1

    writes()
    assert together(writes, reads, reads, reads) == []
    os.close(writing)
    assert seen[0] > 20


def opened_while_it_runs(path):
    """How many of three ways to open a running program for writing are not refused."""
    path.write_bytes(pathlib.Path("/bin/sleep").read_bytes())
    path.chmod(0o755)
    count = 0
    # By a shell: our own thread would hold Python's lock until the file has been read, and with it
    # the store that answers late, which is a thread of ours.
    with subprocess.Popen(["sh", "-c", "exec \"$0\" 30", path]) as running:
        wait_until(lambda: os.readlink(f"/proc/{running.pid}/exe") == str(path),
                   what="the program", process=running)
        for flags in (os.O_WRONLY, os.O_RDWR | os.O_TRUNC, os.O_RDONLY | os.O_TRUNC):
            try:
                os.close(os.open(path, flags))
                count += 1
            except OSError as error:
                assert error.errno == errno.ETXTBSY
        assert running.poll() is None
        running.kill()
    return count


def test_a_program_that_runs_is_not_emptied_by_who_would_replace_it(target, workdir):
    if opened_while_it_runs(workdir / "sleep") > 0:
        pytest.skip("this kernel lets running programs be written")
    assert opened_while_it_runs(target / "sleep") == 0
    assert (target / "sleep").stat().st_size == os.stat("/bin/sleep").st_size
