#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the rows do that no common program does: each the same at every run, one line of JSON at the end.

workloads.py create DIR --files N      N files of 0.5-300 KB (30 KB on average) in at most 1,024 directories
workloads.py stat DIR --files N        stat of f000000, f000001, ... of which no directory was listed
workloads.py randwrite FILE --files N  N writes of 4 KiB at random places, then fsync
workloads.py source DIR --files N      a tree as a program's sources are: for tar and git
"""
import argparse
import json
import os
import random
import time

BLOCK = 4096
BLOB = 2 << 20


def small_files(count):
    """(directory, name, size, offset in the blob) of each file of the small-file tree."""
    dice = random.Random(20260101)
    for number in range(count):
        size = int(min(300 * 1024, max(512, dice.expovariate(1.0 / 30700))))
        leaf = number % 1024
        yield (f"{leaf >> 7}/{leaf >> 4 & 7}/{leaf & 15:02}", f"f{number:05}.bin", size,
               dice.randrange(0, BLOB >> 1))


def tree_totals(count):
    return count, sum(size for _, _, size, _ in small_files(count))


def write_all(fd, data):
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view):]


def create(where, count):
    blob = random.Random(7).randbytes(BLOB)
    plan = list(small_files(count))
    made = set()
    begun = time.monotonic()
    for folder, name, size, offset in plan:
        full = os.path.join(where, folder)
        if full not in made:
            os.makedirs(full, exist_ok=True)
            made.add(full)
        fd = os.open(f"{full}/{name}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        write_all(fd, blob[offset:offset + size])
        os.close(fd)
    return {"seconds": time.monotonic() - begun}


def stat(where, count):
    begun = time.monotonic()
    size = sum(os.stat(f"{where}/f{number:06}").st_size for number in range(count))
    return {"seconds": time.monotonic() - begun, "bytes": size}


def random_blocks(size, count):
    """(offset, bytes) of each write; a later one may lie on an earlier one."""
    dice = random.Random(4096)
    for number in range(count):
        yield dice.randrange(size // BLOCK) * BLOCK, number.to_bytes(8, "little") * (BLOCK // 8)


def randwrite(path, count):
    fd = os.open(path, os.O_WRONLY)
    blocks = list(random_blocks(os.fstat(fd).st_size, count))
    begun = time.monotonic()
    for offset, data in blocks:
        if os.pwrite(fd, data, offset) != BLOCK:
            raise OSError("short write")
    written = time.monotonic() - begun
    os.fsync(fd)
    seconds = time.monotonic() - begun
    os.close(fd)
    return {"seconds": seconds, "written": written}


def has_blocks(path, count):
    """Whether the object's bytes at path show every write of randwrite."""
    last = dict(random_blocks(os.path.getsize(path), count))
    with open(path, "rb", buffering=0) as file:
        return all(os.pread(file.fileno(), BLOCK, offset) == data for offset, data in last.items())


def source(where, count):
    dice = random.Random(17)
    words = ["struct", "static", "int", "return", "error", "volume", "object", "if", "while", "const",
             "char", "size", "offset", "NULL", "buffer", "request"]
    for number in range(count):
        folder = f"{where}/part{number % 40:02}/unit{number // 40 % 10}"
        os.makedirs(folder, exist_ok=True)
        lines = [" ".join(dice.choices(words, k=9)) for _ in range(int(dice.lognormvariate(4.3, 1)) + 5)]
        with open(f"{folder}/{dice.choice(words)}_{number:04}.c", "w", encoding="ascii") as file:
            file.write(";\n".join(lines) + ";\n")
    return {"files": count}


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["create", "stat", "randwrite", "source"])
    parser.add_argument("where")
    parser.add_argument("--files", type=int, default=6400)
    options = parser.parse_args()
    print(json.dumps(globals()[options.what](options.where, options.files)))


if __name__ == "__main__":
    main()
