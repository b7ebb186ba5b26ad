# SPDX-License-Identifier: Apache-2.0
"""What is measured. A cell is one piece of work on one fresh mount; its figures are rows of the table.

To add a cell, write a function that takes a Context and returns {row: figure} and put it into CELLS. raw
is the same work by parallel requests without a file system, where there is such a thing.
"""
import collections
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

import mounters
import workloads
from store import BenchError

HERE = pathlib.Path(__file__).resolve().parent
MIB = 1 << 20
Scale = collections.namedtuple("Scale", "files flat big stream writes sources mix seconds")
FULL = Scale(files=6400, flat=10000, big=1024 * MIB, stream=512 * MIB, writes=8192, sources=2000,
             mix=256 * MIB, seconds=5)
LARGE = {"big": 5 << 30, "flat": 100000}
SMOKE_LARGE = {"big": 20 << 20, "flat": 80}
SMOKE = Scale(files=40, flat=50, big=12 * MIB, stream=3 * MIB, writes=16, sources=30, mix=2 * MIB, seconds=0.2)
RAW_CONNECTIONS = 64


class Cut(Exception):
    """It took longer than this cell may."""


class Context:
    """What a cell has: a mount, its bucket, the fixtures, and the time that is left."""

    def __init__(self, bench, tool, network, seconds):
        self.bench, self.tool, self.network = bench, tool, network
        self.store, self.scale = bench.store, bench.scale
        self.kind = ""  # of the scale, in names of fixtures
        self.end = time.monotonic() + seconds
        self.bucket = None
        self.load = None  # what the null server shows
        self.mount = None
        self.work = 1  # what CPU seconds are divided by, where the work depends on the speed
        self.note = ""

    @property
    def top(self):
        return str(self.mount.point)

    def left(self):
        left = self.end - time.monotonic()
        if left <= 0:
            raise Cut
        return left

    def child(self, *argv, lines=False, **options):
        """Run a program; its output, or the number of its lines. A part that fails fails the cell."""
        process = subprocess.Popen([str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True, errors="replace",
                                   start_new_session=True, **options)
        try:
            out, err = process.communicate(timeout=self.left())
        except subprocess.TimeoutExpired:
            self.mount.kill()  # else it may wait in the kernel, where no signal reaches it
            process.kill()
            process.communicate(timeout=30)
            raise Cut from None
        except BaseException:
            self.mount.kill()
            process.kill()
            raise
        if process.returncode != 0:
            raise BenchError(f"{pathlib.Path(str(argv[0])).name}: {err.strip()[-300:]}")
        return out.count("\n") if lines else out

    def timed(self, *argv, **options):
        begun = time.monotonic()
        out = self.child(*argv, **options)
        return time.monotonic() - begun, out

    def workload(self, what, where, files):
        return json.loads(self.child(sys.executable, HERE / "workloads.py", what, where, "--files", files))

    def fio(self, *arguments, jobs=1):
        out = self.child("fio", "--name=bench", "--output-format=json", "--group_reporting", "--thread",
                         f"--numjobs={jobs}", *arguments)
        return json.loads(out[out.index("{"):])["jobs"][0]

    def until_durable(self, reached, begun):
        """Seconds from begun until all is in the bucket. The null server has none: it is at once."""
        while self.tool != "null" and not reached():
            self.left()
            time.sleep(0.02)
        return time.monotonic() - begun

    def all_durable(self, prefix, files, size, begun):
        """Every object in the bucket, by number and bytes; the listing has the last word."""
        seconds = self.until_durable(lambda: self.store.totals(self.bucket, prefix) == (files, size), begun)
        if self.tool != "null" and self.store.listed(self.bucket, prefix + "/") != (files, size):
            raise BenchError(f"LIST does not show {files} objects of {size} bytes below {prefix}")
        return seconds

    def object_durable(self, key, size, begun):
        return self.until_durable(lambda: self.store.size(self.bucket, key) == size, begun)

    def raw(self, *arguments, bucket=None):
        return self.store.raw(self.network, bucket or self.bucket, *arguments)["seconds"]


# ---- fixtures: what lies in a bucket before the clock starts ----

def empty(context):
    context.bucket = context.store.new_bucket() if context.tool != "null" else None


def tree(context):
    """The small-file tree as this tool itself wrote it, over loopback."""
    bench, files = context.bench, context.scale.files
    if context.tool == "null":
        context.load = bench.native("tree", lambda where: workloads.create(f"{where}/tree", files))
        return
    if context.tool not in bench.trees:
        bucket = context.store.new_bucket()
        if context.tool == "raw":
            context.store.raw("loopback", bucket, "-plan", bench.plan("tree", context.scale), "-prefix", "tree/",
                              "put")
        else:
            make_tree(context, bucket)
        bench.trees[context.tool] = bucket
    context.bucket = bench.trees[context.tool]


def make_tree(context, bucket):
    maker = Context(context.bench, context.tool, "loopback", 120)
    maker.bucket = bucket
    maker.mount = mounters.Mount(context.tool, context.bench.directory, context.store.endpoints["loopback"],
                                 bucket)
    try:
        create(maker)
    finally:
        maker.mount.end()


def shared(name, make):
    """A bucket that every tool reads and none writes."""
    def fixture(context):
        bench, full = context.bench, name + context.kind
        if context.tool == "null":
            context.load = bench.native(full, lambda where: make(context, None, where))
            return
        if full not in bench.shared:
            bucket = context.store.new_bucket()
            make(context, bucket, None)
            bench.shared[full] = bucket
        context.bucket = bench.shared[full]
    return fixture


def put_file(context, bucket, where, key, size):
    if where:
        with open(f"{where}/{key}", "wb") as file:
            file.truncate(size)
        return
    context.store.raw("loopback", bucket, "-key", key, "-size", size, "-conns", "4", "multipart")


def make_big(context, bucket, where):
    put_file(context, bucket, where, "big", context.scale.big)


def make_streams(context, bucket, where):
    for number in range(4):
        put_file(context, bucket, where, f"s{number}", context.scale.stream)


def make_flat(context, bucket, where):
    if not where:
        context.store.raw("loopback", bucket, "-plan", context.bench.plan("flat", context.scale), "-prefix", "flat/",
                          "put")
        return
    os.mkdir(f"{where}/flat")
    for number in range(context.scale.flat):
        pathlib.Path(f"{where}/flat/f{number:06}").write_bytes(b"x" * 1000)


def make_mix(context, bucket, where):
    put_file(context, bucket, where, "mix", context.scale.mix)


def own(make):
    """A bucket of this cell alone, since it is written."""
    def fixture(context):
        if context.tool == "null":
            shared(f"own-{make.__name__}", make)(context)
            return
        empty(context)
        make(context, context.bucket, None)
    return fixture


# ---- cells ----

def create(context):
    files, size = workloads.tree_totals(context.scale.files)
    begun = time.monotonic()
    took = context.workload("create", f"{context.top}/tree", files)["seconds"]
    started = time.monotonic() - begun - took  # of Python, which is not the file system's
    durable = context.all_durable("tree", files, size, begun) - started
    return {"create": took, "durable": durable}


def ls_lr(context):
    seconds, lines = context.timed("ls", "-lR", f"{context.top}/tree", lines=True)
    if lines < context.scale.files:
        raise BenchError(f"ls -lR shows {lines} lines")
    return {"ls_lR": seconds}


def find(context):
    seconds, lines = context.timed("find", f"{context.top}/tree", "-type", "f", lines=True)
    if lines != context.scale.files:
        raise BenchError(f"find shows {lines} files")
    return {"find": seconds}


def copy(context):
    begun = time.monotonic()
    took, _ = context.timed("cp", "-r", f"{context.top}/tree", f"{context.top}/copy")
    durable = context.all_durable("copy", *workloads.tree_totals(context.scale.files), begun)
    return {"cp_r": took, "cp_durable": durable}


def remove(context):
    context.bench.trees.pop(context.tool, None)
    begun = time.monotonic()
    took, _ = context.timed("rm", "-rf", f"{context.top}/tree")
    gone = context.until_durable(lambda: context.store.totals(context.bucket, "tree")[0] == 0, begun)
    return {"rm_rf": took, "rm_durable": gone}


def write(context, key="big", flags=("conv=fsync",)):
    size = context.scale.big
    source = context.bench.source(size)
    begun = time.monotonic()
    context.child("dd", f"if={source}", f"of={context.top}/{key}", "bs=1M",
                  f"count={size // MIB}", *flags)
    return size / context.object_durable(key, size, begun) / 1e6


def dd_write(context):
    return {"write": write(context)}


def dd_direct(context):
    return {"write_direct": write(context, "direct", ("oflag=direct", "conv=fsync"))}


def dd_read(context):
    seconds, _ = context.timed("dd", f"if={context.top}/big", "of=/dev/null", "bs=1M")
    return {"read": context.scale.big / seconds / 1e6}


def random_read(jobs):
    def cell(context):
        done = context.fio(f"--filename={context.top}/big", f"--size={context.scale.big}", "--rw=randread", "--bs=4k",
                           "--ioengine=psync", "--readonly", "--time_based", "--norandommap",
                           f"--runtime={context.scale.seconds}", jobs=jobs)["read"]
        context.work = done["total_ios"] / 1000
        return {f"randread_{jobs}": done["iops"]}
    return cell


def streams(context):
    size = context.scale.stream
    done = context.fio(f"--filename_format={context.top}/s$jobnum", f"--size={size}", "--rw=read", "--bs=1M",
                       "--ioengine=psync", "--readonly", jobs=4)["read"]
    return {"seqread_4": done["io_bytes"] / done["runtime"] / 1e3}


def randwrite(context):
    path = context.store.path(context.bucket, "big") if context.bucket else None
    before = path.stat().st_mtime_ns if path else 0
    begun = time.monotonic()
    took = context.workload("randwrite", f"{context.top}/big", context.scale.writes)["seconds"]
    started = time.monotonic() - begun - took
    durable = context.until_durable(lambda: path.stat().st_mtime_ns != before and
                                    workloads.has_blocks(path, context.scale.writes), begun) - started
    return {"randwrite": max(took, durable)}


def ls_l(context):
    seconds, lines = context.timed("ls", "-l", f"{context.top}/flat", lines=True)
    if lines < context.scale.flat:
        raise BenchError(f"ls -l shows {lines} lines")
    return {"ls_l": seconds}


def stat(context):
    return {"stat": context.workload("stat", f"{context.top}/flat", context.scale.flat)["seconds"]}


def tar_x(context):
    archive = context.bench.source_tar()
    files, size = context.bench.source_totals()
    begun = time.monotonic()
    took, _ = context.timed("tar", "xf", archive, "-C", context.top)
    return {"tar_x": took, "tar_durable": context.all_durable("source", files, size, begun)}


def git(context):
    quiet = {"env": dict(os.environ, GIT_CONFIG_GLOBAL="/dev/null", GIT_CONFIG_SYSTEM="/dev/null")}
    clone = f"{context.top}/clone"
    cloned, _ = context.timed("git", "clone", "-q", "--local", "--no-hardlinks", context.bench.source_git(), clone,
                              **quiet)
    status, changed = context.timed("git", "-C", clone, "status", "--porcelain", **quiet)
    if changed:
        raise BenchError(f"git status shows changes after a clone: {changed[:200]}")
    return {"git_clone": cloned, "git_status": status}


def same_bytes(one, other):
    with open(one, "rb") as a, open(other, "rb") as b:
        while True:
            left, right = a.read(MIB), b.read(MIB)
            if left != right:
                return False
            if not left:
                return True


def published(context, name, before):
    """When the store's copy became what the mount shows, in seconds since the epoch."""
    if context.tool == "null":
        return 0
    path = context.store.path(context.bucket, name)
    while path.stat().st_mtime_ns == before or not same_bytes(path, f"{context.top}/{name}"):
        context.left()
        time.sleep(0.05)
    return path.stat().st_mtime


def mix(context):
    """Random and sequential I/O with O_DIRECT, as storage is commonly tried in a pod; writes until in the bucket."""
    found = {}
    for row, mode, block in (("mix_randread", "randread", "4k"), ("mix_seqread", "read", "1M"),
                             ("mix_randwrite", "randwrite", "4k"), ("mix_seqwrite", "write", "1M")):
        writes = "write" in mode
        before = 0 if context.tool == "null" else context.store.path(context.bucket, "mix").stat().st_mtime_ns
        begun = time.time()
        done = context.fio(
            f"--filename={context.top}/mix", f"--size={context.scale.mix}", f"--rw={mode}", f"--bs={block}",
            "--ioengine=libaio", "--iodepth=16", "--direct=1", "--time_based", f"--runtime={context.scale.seconds}",
            *(("--end_fsync=1",) if writes else ()))
        side = done["write" if writes else "read"]
        seconds = (side["runtime"] + done["sync"]["lat_ns"]["mean"] * done["sync"]["total_ios"] / 1e6) / 1e3
        if writes:
            seconds = max(seconds, published(context, "mix", before) - begun)
        found[row] = side["total_ios"] / seconds if block == "4k" else side["io_bytes"] / seconds / 1e6
    return found


# ---- the same by raw requests ----

def raw_put(name, prefix):
    def work(context):
        return context.raw("-plan", context.bench.plan(name, context.scale), "-prefix", prefix, "-conns",
                           RAW_CONNECTIONS, "put")
    return work


def raw_list(prefix):
    return lambda context: context.raw("-prefix", prefix, "list")


def raw_multipart(context):
    conns = 4 if context.network == "loopback" else 16
    return context.scale.big / 1e6 / context.raw("-key", "new", "-size", context.scale.big, "-conns", conns,
                                                 "multipart")


def raw_ranges(keys, size):
    def work(context):
        total = getattr(context.scale, size)
        conns = 16 if context.network == "loopback" else 32
        seconds = context.raw("-key", keys, "-size", total, "-part", 8 * MIB, "-conns", conns, "ranges")
        return total * len(keys.split(",")) / seconds / 1e6
    return work


def raw_random(conns):
    def work(context):
        done = context.store.raw(context.network, context.bucket, "-key", "big", "-size", context.scale.big, "-part",
                                 4096, "-conns", conns, "-duration", f"{context.scale.seconds}s", "random")
        return done["requests"] / done["seconds"]
    return work


def raw_copy(context):
    return context.raw("-plan", context.bench.plan("tree", context.scale), "-prefix", "tree/", "-to", "copy/", "copy")


def raw_remove(context):
    context.bench.trees.pop("raw", None)
    return context.raw("-prefix", "tree/", "-conns", 4, "rm")


def raw_rewrite(context):
    return context.scale.big / 1e6 / raw_multipart(context)


Cell = collections.namedtuple("Cell", "fixture run rows raw seconds large", defaults=(False,))
big, streaming, flat = shared("big", make_big), shared("streams", make_streams), shared("flat", make_flat)

# name: fixture, work, its rows, the same by raw requests (for the last of the rows), seconds until it is cut
CELLS = {
    "create": Cell(empty, create, ("create", "durable"), raw_put("tree", "tree/"), 90),
    "ls_lR": Cell(tree, ls_lr, ("ls_lR",), raw_list("tree/"), 60),
    "find": Cell(tree, find, ("find",), raw_list("tree/"), 60),
    "cp_r": Cell(tree, copy, ("cp_r", "cp_durable"), raw_copy, 90),
    "rm_rf": Cell(tree, remove, ("rm_rf", "rm_durable"), raw_remove, 60),
    "write": Cell(empty, dd_write, ("write",), raw_multipart, 60),
    "read": Cell(big, dd_read, ("read",), raw_ranges("big", "big"), 60),
    "randread_1": Cell(big, random_read(1), ("randread_1",), raw_random(1), 40),
    "randread_16": Cell(big, random_read(16), ("randread_16",), raw_random(16), 40),
    "seqread_4": Cell(streaming, streams, ("seqread_4",), raw_ranges("s0,s1,s2,s3", "stream"), 60),
    "randwrite": Cell(own(make_big), randwrite, ("randwrite",), raw_rewrite, 60),
    "ls_l": Cell(flat, ls_l, ("ls_l",), raw_list("flat/"), 60),
    "stat": Cell(flat, stat, ("stat",), raw_list("flat/"), 60),
    "tar": Cell(empty, tar_x, ("tar_x", "tar_durable"), raw_put("source", "source/"), 90),
    "git": Cell(empty, git, ("git_clone", "git_status"), None, 90),
    "write_direct": Cell(empty, dd_direct, ("write_direct",), raw_multipart, 60),
    "mix": Cell(own(make_mix), mix, ("mix_randread", "mix_seqread", "mix_randwrite", "mix_seqwrite"), None, 90),
    "write_large": Cell(empty, dd_write, ("write_large",), raw_multipart, 180, True),
    "read_large": Cell(big, dd_read, ("read_large",), raw_ranges("big", "big"), 120, True),
    "ls_l_large": Cell(flat, ls_l, ("ls_l_large",), raw_list("flat/"), 120, True),
}

Row = collections.namedtuple("Row", "title unit")
ROWS = {
    "create": Row("6,400 small files, to the last close", "s"),
    "durable": Row("6,400 small files, until in the bucket", "s"),
    "ls_lR": Row("ls -lR of them, cold", "s"),
    "find": Row("find -type f, cold", "s"),
    "cp_r": Row("cp -r of them, to its end", "s"),
    "cp_durable": Row("cp -r, until in the bucket", "s"),
    "rm_rf": Row("rm -rf, to its end", "s"),
    "rm_durable": Row("rm -rf, until gone from the bucket", "s"),
    "write": Row("write 1 GiB, until in the bucket", "MB/s"),
    "read": Row("read 1 GiB, cold", "MB/s"),
    "randread_1": Row("random 4 KiB reads, 1 thread", "IOPS"),
    "randread_16": Row("random 4 KiB reads, 16 threads", "IOPS"),
    "seqread_4": Row("4 streams of 512 MiB", "MB/s"),
    "randwrite": Row("8,192 random 4 KiB writes in 1 GiB + fsync", "s"),
    "ls_l": Row("ls -l of 10,000 entries, cold", "s"),
    "stat": Row("stat of 10,000 names, cold", "s"),
    "tar_x": Row("tar x of 2,000 sources, to its end", "s"),
    "tar_durable": Row("tar x, until in the bucket", "s"),
    "git_clone": Row("git clone --local of them", "s"),
    "git_status": Row("git status after it", "s"),
    "write_direct": Row("write 1 GiB with oflag=direct", "MB/s"),
    "mix_randread": Row("fio mix: random 4 KiB reads", "IOPS"),
    "mix_seqread": Row("fio mix: sequential reads", "MB/s"),
    "mix_randwrite": Row("fio mix: random 4 KiB writes, until in the bucket", "IOPS"),
    "mix_seqwrite": Row("fio mix: sequential writes, until in the bucket", "MB/s"),
    "write_large": Row("write 5 GiB, until in the bucket", "MB/s"),
    "read_large": Row("read 5 GiB, cold", "MB/s"),
    "ls_l_large": Row("ls -l of 100,000 entries, cold", "s"),
}


def higher_is_better(row):
    return ROWS[row].unit != "s"
