#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Skyvol end to end on this machine, in a temporary directory, on free ports.

    embedded store with its S3 endpoint, metaserver, controller, holder, node plugin   started
    a volume                                                      provisioned, staged, published by CSI calls
    a real tree (/usr/include)                                    copied in, compared byte by byte
                                                                  through the mount and through S3
    an object written by S3                                       read in the mount, overwritten, read again
    the volume                                                    deleted; its bucket is gone

Everything is stopped and removed at the end, also after an error or Ctrl-C. Exit status 0 only if every step
did what it says. --keep leaves the directory, --source takes another tree.
"""
import argparse
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from stack import BIN, Stack, StackError  # noqa: E402

VOLUME_NAME = "pvc-demo"


class Screen:
    """One line per step, with what it took; a progress bar while a step runs."""

    def __init__(self):
        self.live = sys.stdout.isatty()
        self.started = time.monotonic()
        self.number = 0

    def step(self, text):
        self.number += 1
        self.text = text
        self.begun = time.monotonic()
        if self.live:
            print(f"  … {text}", end="", flush=True)

    def bar(self, done, total, unit="files"):
        if self.live:
            filled = int(30 * done / max(total, 1))
            print(f"\r  … {self.text} [{'#' * filled}{'.' * (30 - filled)}] {done}/{total} {unit}",
                  end="", flush=True)

    def ok(self, detail=""):
        took = time.monotonic() - self.begun
        end = "\r\033[K" if self.live else ""
        print(f"{end}{self.number:3}. {self.text}{': ' + detail if detail else ''} ({took:.1f} s)",
              flush=True)


def tree_files(root):
    """Relative paths of the regular files below root, symbolic links not followed."""
    found = []
    for folder, _, names in os.walk(root):
        for name in names:
            path = os.path.join(folder, name)
            if os.path.isfile(path) and not os.path.islink(path):
                found.append(os.path.relpath(path, root))
    return sorted(found)


def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def copy_tree(source, target, files, progress):
    """Copy as cp -r would: one file after the other, each closed before the next."""
    size = 0
    for number, name in enumerate(files, 1):
        to = os.path.join(target, name)
        os.makedirs(os.path.dirname(to), exist_ok=True)
        shutil.copyfile(os.path.join(source, name), to)
        size += os.path.getsize(os.path.join(source, name))
        if number % 20 == 0 or number == len(files):
            progress(number, len(files))
    return size


def compare(source, target, files, progress):
    for number, name in enumerate(files, 1):
        a, b = os.path.join(source, name), os.path.join(target, name)
        if not os.path.isfile(b):
            raise StackError(f"{name} is absent in {target}")
        if digest(a) != digest(b):
            raise StackError(f"{name} differs in {target}")
        if number % 50 == 0 or number == len(files):
            progress(number, len(files))
    extra = set(tree_files(target)) - set(files)
    if extra:
        raise StackError(f"{target} has {len(extra)} files too many, e.g. {sorted(extra)[0]}")


def rate(size, seconds):
    return f"{size / max(seconds, 1e-9) / 2**20:.1f} MiB/s"


def check_s3(stack, screen, source, files, bucket, target):
    screen.step(f"fetch the bucket by {stack.s3_client()} and compare every byte")
    fetched = stack.directory / "fetched"
    stack.s3_fetch(bucket, "tree", fetched)
    compare(source, str(fetched), files, screen.bar)
    shutil.rmtree(fetched)
    screen.ok("equal")

    screen.step("write an object by S3, read it in the mount, overwrite it by S3, read again")
    for text in ("written by S3\n", "overwritten by S3, and read without waiting\n"):
        stack.s3_put(bucket, "note.txt", text)
        seen = pathlib.Path(target, "note.txt").read_text()
        if seen != text:
            raise StackError(f"the mount shows {seen!r} after S3 wrote {text!r}")
    screen.ok("new bytes on the next open")


def check_second_mount(stack, screen, source, files, bucket):
    """Where skyvol-s3 is not built: another mounter, which shares nothing with the first."""
    screen.step("skyvol-s3 is not built: compare every byte through a mounter of its own instead")
    other = stack.directory / "other"
    other.mkdir()
    subprocess.run([BIN / "skyvol-mount", f"dir://{stack.store}/{bucket}", other, "-o", "ro"],
                   check=True)
    compare(source, f"{other}/tree", files, screen.bar)
    subprocess.run(["umount", other], check=True)
    screen.ok("equal")


def run(stack, screen, source):
    screen.step("start the embedded store, metaserver, controller, holder and node plugin")
    stack.start()
    screen.ok(f"S3 at {stack.s3_url}" if stack.has_s3 else "")

    screen.step("CSI CreateVolume")
    volume = stack.create_volume(VOLUME_NAME, 10 * 2**30)
    bucket = stack.bucket_of(volume)
    screen.ok(f"volume {volume['volume_id']} is bucket {bucket}")

    screen.step("CSI NodeStageVolume, NodePublishVolume")
    target = stack.publish(volume)
    screen.ok(f"mounted at {target}")

    files = tree_files(source)[:stack.limit]
    screen.step(f"copy {source}")
    begun = time.monotonic()
    size = copy_tree(source, f"{target}/tree", files, screen.bar)
    took = time.monotonic() - begun
    screen.ok(f"{len(files)} files, {size / 2**20:.1f} MiB, {len(files) / took:.0f} files/s, "
              f"{rate(size, took)}")

    screen.step("compare every byte through the mount")
    begun = time.monotonic()
    compare(source, f"{target}/tree", files, screen.bar)
    screen.ok(f"equal, read at {rate(size, time.monotonic() - begun)}")

    if stack.has_s3:
        check_s3(stack, screen, source, files, bucket, target)
    else:
        check_second_mount(stack, screen, source, files, bucket)

    screen.step("df")
    usage = os.statvfs(target)
    line = subprocess.run(["df", "-h", "--output=size,used,avail,fstype", target], check=True,
                          capture_output=True, text=True).stdout.split("\n")[1].split()
    if usage.f_blocks * usage.f_frsize != 10 * 2**30:
        raise StackError(f"df shows {usage.f_blocks * usage.f_frsize} bytes, not the volume's 10 GiB")
    screen.ok(f"size {line[0]}, used {line[1]}, type {line[3]}")

    screen.step("CSI NodeUnpublishVolume, NodeUnstageVolume")
    stack.unpublish(volume)
    screen.ok("nothing is mounted below the directory")

    screen.step("CSI DeleteVolume")
    stack.delete_volume(volume)
    left = stack.store_content()
    if left != (0, 0):
        raise StackError(f"{left[0]} buckets and {left[1]} objects are left in the store")
    screen.ok("no bucket, no object, no file is left in the store")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", default="/usr/include", help="tree to copy (default: %(default)s)")
    parser.add_argument("--files", type=int, default=4000,
                        help="copy so many of the tree's files (default: %(default)s)")
    parser.add_argument("--keep", action="store_true", help="keep the directory with logs and data")
    options = parser.parse_args()
    screen = Screen()
    stack = Stack(keep=options.keep)
    stack.limit = options.files
    try:
        run(stack, screen, options.source)
        screen.step("stop everything")
        stack.stop()
        screen.ok()
    except (StackError, OSError, subprocess.SubprocessError, KeyboardInterrupt) as error:
        print(f"\nFAILED at step {screen.number}, {screen.text}: {error!r}", file=sys.stderr)
        stack.explain(sys.stderr)
        return 1
    finally:
        stack.stop()
    print(f"done in {time.monotonic() - screen.started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
