#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""skyvol-mount beside other S3 mounters, the bare FUSE and the bare store, on one machine (as root).

    bench_mount.py                                     everything, once, at loopback
    bench_mount.py --rows create,durable --tools skyvol-fsync,geesefs --runs 3
    bench_mount.py --store loopback,rtt20 --runs 3 --json results.json --table table.md --plot plot.svg
    bench_mount.py --judge results.json                the bars, from earlier results

Store: versitygw --keep-alive with its data on tmpfs; rtt20 has a network of 20 ms and 90 MB/s a connection before
it. Runs are interleaved: of each row all tools one after the other, then the next row, then the next run. Each
measurement has a fresh mount, hence no cache of the kernel or of the mounter; data and scratch files lie on tmpfs,
so dropping the machine's page cache would change nothing. A tool that takes longer than a row may is cut.
Tools that are not installed are left out and named.
"""
import argparse
import datetime
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import judge
import mounters
import report
import rows
import workloads
from rows import BenchError, Context, Cut
from store import Store


SETTLE = 0.05  # after a cell, until the last answer's line stands in the store's log


class Bench:
    """One run of the program: the store, the fixtures, the results."""

    def __init__(self, scale, directory, seconds):
        self.scale, self.directory, self.seconds = scale, pathlib.Path(directory), seconds
        self.store = Store(directory)
        self.trees, self.shared = {}, {}
        self.results = []
        self.cut = set()

    # ---- what the rows need besides a mount ----

    def made(self, name, make):
        """A file or directory on tmpfs that make(path) makes at its first use."""
        path = self.directory / "inputs" / name
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            make(path)
        return path

    def native(self, name, fill):
        def make(path):
            path.mkdir()
            fill(path)
        return self.made(f"native-{name}", make)

    def plan(self, name, scale):
        def make(path):
            if name == "tree":
                lines = (f"{d}/{f} {size}" for d, f, size, _ in workloads.small_files(scale.files))
            elif name == "flat":
                lines = (f"f{n:06} 1000" for n in range(scale.flat))
            else:
                root = self.sources() / "source"
                lines = (f"{p.relative_to(root)} {min(p.stat().st_size, 1 << 20)}" for p in
                         sorted(root.rglob("*.c")))
            path.write_text("\n".join(lines) + "\n")
        return self.made(f"plan-{name}-{scale.flat}", make)

    def source(self, size):
        """Bytes to write that are not all alike."""
        def make(path):
            block = os.urandom(4 << 20)
            with open(path, "wb") as file:
                for number in range(-(-size // len(block))):
                    file.write(number.to_bytes(8, "little") + block[8:])
        return self.made(f"random-{size}", make)

    def sources(self):
        return self.native("sources", lambda where: workloads.source(f"{where}/source", self.scale.sources))

    def source_totals(self):
        sizes = [p.stat().st_size for p in (self.sources() / "source").rglob("*") if p.is_file()]
        return len(sizes), sum(sizes)

    def source_tar(self):
        return self.made("source.tar", lambda path: subprocess.run(
            ["tar", "--sort=name", "-cf", path, "-C", self.sources(), "source"], check=True))

    def source_git(self):
        def make(path):
            env = dict(os.environ, GIT_CONFIG_GLOBAL="/dev/null", GIT_CONFIG_SYSTEM="/dev/null",
                       GIT_AUTHOR_DATE="2026-01-01T00:00:00Z", GIT_COMMITTER_DATE="2026-01-01T00:00:00Z")
            shutil.copytree(self.sources() / "source", path)
            for words in (["init", "-q"], ["add", "-A"],
                          ["-c", "user.name=bench", "-c", "user.email=bench@localhost", "commit", "-qm", "all"]):
                subprocess.run(["git", "-C", path, *words], check=True, env=env)
        return self.made("repository", make)

    # ---- measuring ----

    def measure(self, name, tool, network, run):
        cell = rows.CELLS[name]
        result = {"cell": name, "tool": tool, "store": network, "run": run, "rows": {}}
        context = Context(self, tool, network, self.seconds or cell.seconds)
        if cell.large:
            context.scale = self.scale._replace(**(rows.SMOKE_LARGE if self.scale == rows.SMOKE else rows.LARGE))
            context.kind = "-large"
        kept = set(self.trees.values()) | set(self.shared.values())
        try:
            cell.fixture(context)
            context.end = time.monotonic() + (self.seconds or cell.seconds)
            if tool == "raw":
                result["rows"] = {cell.rows[-1]: cell.raw(context)}
            else:
                self.on_mount(cell, context, result)
        except Cut:
            result["cut"] = self.seconds or cell.seconds
            self.cut.add((name, tool, network))
            self.trees.pop(tool, None)
        except (BenchError, OSError, subprocess.SubprocessError, ValueError) as error:
            result["error"] = str(error) or repr(error)
            if context.mount is not None and context.mount.log_end():
                result["error"] += "; mounter: " + context.mount.log_end()
            self.trees.pop(tool, None)
        finally:
            self.tidy(name, context, kept, result)
        self.results.append(result)
        return result

    def on_mount(self, cell, context, result):
        before = self.store.mark()
        context.mount = mounters.Mount(context.tool, self.directory, self.store.endpoints[context.network],
                                       context.bucket, context.load)
        begun, used = self.store.mark(), context.mount.used()
        try:
            found = cell.run(context)
            result["rows"] = {f"{row}_large": value for row, value in found.items()} if cell.large else found
        finally:
            after = context.mount.used()
            time.sleep(SETTLE)
            result["cpu"] = round(after["cpu"] - used["cpu"], 2)
            result["work"] = context.work
            result["rss"] = round(after["rss"], 1)
            result["requests"] = self.store.requests(begun)
            result["mount_requests"] = self.store.requests(before, begun)
            if not context.mount.end():
                result["note"] = "did not end after umount: killed"

    def tidy(self, name, context, kept, result):
        """Remove the buckets that no later cell needs."""
        if name == "create" and context.bucket and result["rows"] and context.tool != "raw":
            old = self.trees.pop(context.tool, None)
            self.trees[context.tool] = context.bucket
            if old:
                self.store.remove(old)
        elif context.bucket and context.bucket in (*self.trees.values(), *self.shared.values()):
            self.store.remove(context.bucket, "copy")
        elif context.bucket:
            self.store.remove(context.bucket)
        for bucket in kept - set(self.trees.values()) - set(self.shared.values()) - {context.bucket}:
            self.store.remove(bucket)

    def run(self, cells, tools, networks, runs, progress, keep):
        total = len(runs) * sum(len([t for t in tools if applies(cell, t)]) for cell in cells) * len(networks)
        done = 0
        for run in runs:
            for network in networks:
                for cell in cells:
                    turn = [t for t in tools if applies(cell, t)]
                    turn = turn[run % len(turn):] + turn[:run % len(turn)] if turn else []
                    for tool in turn:
                        done += 1
                        if (cell, tool, network) in self.cut:
                            continue
                        progress(done, total, self.measure(cell, tool, network, run))
                        keep()


def applies(cell, tool):
    return tool != "raw" or rows.CELLS[cell].raw is not None


def progress_line(done, total, result):
    figures = ", ".join(f"{row} {report.figure(row, value)}" for row, value in result["rows"].items())
    if "cut" in result:
        figures = f"cut after {result['cut']} s"
    if "error" in result:
        figures = "FAILED: " + result["error"].replace("\n", " ")
    details = ""
    if "cpu" in result:
        asked = ", ".join(f"{n} {op}" for op, n in sorted(result["requests"].items(), key=lambda x: -x[1])[:6])
        details = f" | cpu {result['cpu']:.2f} s, rss {result['rss']:.0f} MiB, {asked or 'no requests'}"
    if "note" in result:
        details += f" | {result['note']}"
    print(f"{datetime.datetime.now(datetime.timezone.utc):%H:%M:%S} {done}/{total} {result['store']} "
          f"{result['cell']} {result['tool']}: {figures}{details}", flush=True)


def chosen_cells(names, large):
    """Cells by their own names or by those of their rows; the large ones only if asked for."""
    if not names:
        return [cell for cell, what in rows.CELLS.items() if large or not what.large]
    for name in names:
        if name not in rows.CELLS and name not in rows.ROWS:
            raise SystemExit(f"bench: no row {name}; there are {', '.join(rows.ROWS)}")
    return [cell for cell, what in rows.CELLS.items() if set(names) & {cell, *what.rows}]


def machine():
    model = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo", encoding="utf-8")
                  if line.startswith("model name")), "unknown processor")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores ({model}), {memory:.0f} GiB, Linux {os.uname().release}"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="", help="rows or cells, with commas (default: all)")
    parser.add_argument("--tools", default=",".join(mounters.TOOLS), help="default: %(default)s")
    parser.add_argument("--store", default="loopback", help="loopback, rtt20 or both with a comma")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--first-run", type=int, default=1, help="number of the first, with --append")
    parser.add_argument("--seconds", type=float, default=0, help="cut every cell after so long")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes: tries the bench, measures nothing")
    parser.add_argument("--large", action="store_true", help="also 5 GiB and 100,000 entries")
    parser.add_argument("--tmpfs", default="/dev/shm", help="where data goes (default: %(default)s)")
    parser.add_argument("--json", help="results; added to if the file exists and --append is given")
    parser.add_argument("--append", action="store_true")
    parser.add_argument("--table", help="table as Markdown")
    parser.add_argument("--plot", help="plot as SVG")
    parser.add_argument("--judge", metavar="RESULTS", help="judge, table and plot from earlier results")
    return parser.parse_args()


def keep_json(options, results):
    """After each measurement, so that a run that is broken off was not in vain."""
    if not options.json:
        return
    path = pathlib.Path(options.json)
    beside = path.with_suffix(".new")
    beside.write_text(json.dumps(dict(results, measurements=options.earlier + results["measurements"]), indent=1) +
                      "\n")
    beside.rename(path)


def outputs(options, results):
    if options.table:
        pathlib.Path(options.table).write_text(report.table(results))
    if options.plot:
        pathlib.Path(options.plot).write_text(report.plot(results))


def measure(options):
    tools = [t for t in options.tools.split(",") if t]
    for name in tools:
        if name not in mounters.TOOLS:
            raise SystemExit(f"bench: no tool {name}; there are {', '.join(mounters.TOOLS)}")
    absent = [t for t in tools if not mounters.available(t)]
    if absent:
        print(f"left out, not installed: {', '.join(absent)}", flush=True)
    scale = rows.SMOKE if options.smoke else rows.FULL
    networks = options.store.split(",")
    directory = tempfile.mkdtemp(prefix="skyvol-bench-", dir=options.tmpfs)
    bench = Bench(scale, directory, options.seconds)
    results = {"date": f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d %H:%M} UTC", "machine": machine(),
               "command": " ".join(["bench_mount.py", *sys.argv[1:]]), "left_out": absent,
               "measurements": bench.results}
    try:
        bench.store.start("rtt20" in networks)
        wanted = chosen_cells([r for r in options.rows.split(",") if r], options.large)
        bench.run(wanted, [t for t in tools if t not in absent], networks,
                  range(options.first_run, options.first_run + options.runs), progress_line,
                  lambda: keep_json(options, results))
    finally:
        bench.store.stop()
        if not any(mounters.is_mounted(p) for p in [bench.directory / "mnt"]):
            shutil.rmtree(directory, ignore_errors=True)
    return results


def main():
    options = arguments()
    options.earlier = []
    if options.append and options.json and pathlib.Path(options.json).exists():
        options.earlier = json.loads(pathlib.Path(options.json).read_text())["measurements"]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if options.judge:
        results = json.loads(pathlib.Path(options.judge).read_text())
    else:
        if os.geteuid() != 0:
            print("bench: needs root, to mount", file=sys.stderr)
            return 77
        results = measure(options)
        results["measurements"] = options.earlier + results["measurements"]
    outputs(options, results)
    print(report.table(results))
    if not options.smoke:
        print(judge.verdicts(results))
    return 1 if any("error" in m and m["tool"].startswith("skyvol") for m in results["measurements"]) else 0


if __name__ == "__main__":
    sys.exit(main())
