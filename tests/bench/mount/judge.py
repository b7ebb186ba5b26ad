# SPDX-License-Identifier: Apache-2.0
"""Whether the bars are met, from results: one line a bar.

A figure is compared with that of another tool in the same run; of these ratios the lower quartile counts,
and 5 runs are wanted. A row is held to one of:

  speed     2x the fastest peer, or 0.9 of the limit of its run: the slower of raw requests and bare FUSE
  CPU       half of that peer's, bare FUSE's seconds taken off both
  requests  no more than the peer that sends fewest (rows that are judged by requests and CPU)
and, instead of speed, where one of these is given:
  path      0.85 of 1/(1/raw + 1/FUSE) at loopback, 0.85 of raw at 20 ms: sequential read and write
  64 PUTs   1.5 (create) or 2 (cp -r) times the time of 64 raw connections for the same PUTs, at 20 ms
and besides: LIST requests of ls -lR and find <= keys / 1000 + 5, all of rm -rf's <= keys / 1000 * 2 + 10.
"""
import collections
import math
import statistics

import rows
import workloads
from mounters import PEERS
from report import NETWORKS, cell_of, networks, plain, tools

WANTED = 5
JUDGED = ("skyvol-fsync", "skyvol-close")
BY_SPEED = ("durable", "ls_lR", "find", "cp_durable", "rm_durable", "randread_1", "randread_16", "seqread_4",
            "randwrite", "stat", "write_direct", "mix_randread", "mix_randwrite", "mix_seqread", "mix_seqwrite")
BY_PATH = ("write", "read")
BY_REQUESTS = ("tar_durable", "git_status", "ls_l")  # the last row of each cell
PUT_BARS = {"durable": 1.5, "cp_durable": 2.0}
HUGE = 999.0

Verdict = collections.namedtuple("Verdict", "network tool what needed reached pairs met")


def quartile(ratios):
    if not ratios:
        return None
    if len(ratios) == 1:
        return ratios[0]
    return statistics.quantiles(ratios, n=4, method="inclusive")[0]


class Facts:
    """The results of one network by row, tool and run."""

    def __init__(self, results, network):
        self.network = network
        self.of = {}
        for m in results["measurements"]:
            if m["store"] == network:
                self.of[m["cell"], m["tool"], m["run"]] = m
        self.tools = tools(results)

    def measured(self, row, tool):
        """{run: measurement} of those that reached their end, or were cut."""
        return {run: m for (cell, t, run), m in self.of.items()
                if cell == cell_of(row) and t == tool and (row in m["rows"] or "cut" in m)}

    def speed(self, row, tool, run):
        """Larger is better. A tool that was cut was at best as fast as the limit says."""
        found = self.measured(row, tool)
        m = found.get(run)
        if m is None and found:
            return statistics.median(self.speed(row, tool, r) for r in found)
        if m is None:
            return None
        if row in m["rows"]:
            value = m["rows"][row]
            return value if rows.higher_is_better(row) else 1 / max(value, 1e-6)
        return 0.0 if rows.higher_is_better(row) else 1 / m["cut"]

    def typical(self, row, tool):
        found = [self.speed(row, tool, run) for run in self.measured(row, tool)]
        return statistics.median(found) if found else None

    def best_peer(self, row):
        ranked = [(self.typical(row, t), t) for t in PEERS if self.typical(row, t)]
        return max(ranked)[1] if ranked else None

    def limit(self, row, run):
        found = [s for s in (self.speed(row, t, run) for t in ("raw", "null")) if s]
        return min(found) if found else None

    def cpu(self, row, tool, run):
        m = self.of.get((cell_of(row), tool, run))
        return m["cpu"] / m.get("work", 1) if m and "cpu" in m and row in m["rows"] else None

    def requests(self, row, tool, run, only=None):
        m = self.of.get((cell_of(row), tool, run))
        if not m or row not in m["rows"]:
            return None
        # The mount's own count where it may have asked in advance what the work would ask.
        both = [m["requests"]] + ([m["mount_requests"]] if only else [])
        return sum(n for counts in both for op, n in counts.items() if only is None or op.startswith(only))


def paired(facts, row, tool, ratio):
    return [r for r in (ratio(run) for run in sorted(facts.measured(row, tool))) if r is not None]


def was_cut(facts, row, tool, what, needed):
    """The verdict on a bar that has no figure, since our own tool did not come to its end."""
    found = facts.measured(row, tool)
    if not found or any(row in m["rows"] for m in found.values()):
        return None
    return Verdict(facts.network, tool, what, needed, "cut", len(found), False)


def speed_verdict(facts, row, tool):
    peer = facts.best_peer(row)

    def of(base):
        def ratio(run):
            ours, theirs = facts.speed(row, tool, run), base(run)
            return ours / theirs if ours is not None and theirs else None
        return quartile(paired(facts, row, tool, ratio))

    over_peer = of(lambda run: facts.speed(row, peer, run)) if peer else None
    of_limit = of(lambda run: facts.limit(row, run))
    if over_peer is None and of_limit is None:
        return None
    text = ", ".join(t for t in (f"{plain(over_peer)}x {peer}" if over_peer is not None else "",
                                 f"{of_limit:.2f} of the limit" if of_limit is not None else "") if t)
    met = (over_peer or 0) >= 2 or (of_limit or 0) >= 0.9
    return Verdict(facts.network, tool, f"{row}: speed", "2x or 0.9", text, len(facts.measured(row, tool)), met)


def cpu_verdict(facts, row, tool):
    peer = facts.best_peer(row)

    def ratio(run):
        ours, theirs, bare = (facts.cpu(row, t, run) for t in (tool, peer, "null"))
        if ours is None or theirs is None:
            return None
        bare = bare or 0
        return min(HUGE, max(theirs - bare, 0) / max(ours - bare, 1e-3))

    what, needed = f"{cell_of(row)}: CPU", "1/2 of the peer's"
    found = quartile(paired(facts, row, tool, ratio)) if peer else None
    if found is None:
        return was_cut(facts, row, tool, what, needed) if peer else None
    return Verdict(facts.network, tool, what, needed, f"1/{plain(found)} of {peer}'s",
                   len(facts.measured(row, tool)), found >= 2)


def request_verdict(facts, row, tool):
    def ratio(run):
        ours = facts.requests(row, tool, run)
        theirs = [n for n in (facts.requests(row, t, run) for t in PEERS) if n]
        return min(theirs) / max(ours, 1) if ours is not None and theirs else None

    what, needed = f"{cell_of(row)}: requests", "at most the fewest of a peer"
    found = quartile(paired(facts, row, tool, ratio))
    if found is None:
        return was_cut(facts, row, tool, what, needed)
    return Verdict(facts.network, tool, what, needed, f"{plain(1 / max(found, 1e-3))} of them",
                   len(facts.measured(row, tool)), found >= 1)


def path_verdict(facts, row, tool):
    def ratio(run):
        ours, raw, bare = (facts.speed(row, t, run) for t in (tool, "raw", "null"))
        if ours is None or not raw or (facts.network == "loopback" and not bare):
            return None
        return ours / (1 / (1 / raw + 1 / bare) if facts.network == "loopback" else raw)

    found = quartile(paired(facts, row, tool, ratio))
    if found is None:
        return None
    base = "1/(1/raw + 1/FUSE)" if facts.network == "loopback" else "raw"
    return Verdict(facts.network, tool, f"{row}: speed", f"0.85 of {base}", f"{found:.2f}",
                   len(facts.measured(row, tool)), found >= 0.85)


def put_verdict(facts, row, tool):
    def ratio(run):
        ours, raw = facts.speed(row, tool, run), facts.speed("durable", "raw", run)
        return raw / ours if ours and raw else None

    times = paired(facts, row, tool, ratio)
    if not times:
        return None
    found = -quartile([-t for t in times])  # of times the upper quartile is the lower one of speeds
    return Verdict(facts.network, tool, f"{row}: time", f"{PUT_BARS[row]} x 64 raw connections' PUTs",
                   f"{found:.2f} x", len(times), found <= PUT_BARS[row])


def keys_of(files):
    folders = set()
    for folder, _, _, _ in workloads.small_files(files):
        parts = folder.split("/")
        folders.update("/".join(parts[:n + 1]) for n in range(len(parts)))
    return files + len(folders) + 1


def count_verdicts(facts, tool, files):
    keys = keys_of(files)
    for row, only, most, what in (("ls_lR", "List", keys / 1000 + 5, "LIST requests"),
                                  ("find", "List", keys / 1000 + 5, "LIST requests"),
                                  ("rm_durable", None, keys / 1000 * 2 + 10, "requests")):
        counts = [n for n in (facts.requests(row, tool, run, only) for run in facts.measured(row, tool))
                  if n is not None]
        what, needed = f"{cell_of(row)}: {what}", f"at most {math.floor(most)}"
        if counts:
            yield Verdict(facts.network, tool, what, needed, f"{max(counts):,}", len(counts), max(counts) <= most)
        else:
            yield was_cut(facts, row, tool, what, needed)


def judge(results):
    found = []
    for network in networks(results):
        facts = Facts(results, network)
        for tool in [t for t in facts.tools if t in JUDGED]:
            for row in BY_SPEED:
                has_put_bar = network == "rtt20" and row in PUT_BARS
                found += [(put_verdict if has_put_bar else speed_verdict)(facts, row, tool)]
            found += [path_verdict(facts, row, tool) for row in BY_PATH]
            found += [request_verdict(facts, row, tool) for row in BY_REQUESTS]
            cells = {cell_of(row): row for row in BY_SPEED + BY_PATH + BY_REQUESTS}
            found += [cpu_verdict(facts, row, tool) for row in cells.values()]
            found += count_verdicts(facts, tool, rows.FULL.files)
            failed = sorted({cell for (cell, t, _), m in facts.of.items() if t == tool and "error" in m})
            found += [Verdict(network, tool, cell, "an end without errors", "failed", 1, False) for cell in failed]
    return [v for v in found if v is not None]


def verdicts(results):
    """As a Markdown table, and how many are met."""
    found = judge(results)
    lines = ["| store | tool | bar | needed | reached | runs | |", "|---|---|---|---|---|---|---|"]
    for v in found:
        few = "" if v.pairs >= WANTED else f" (of {WANTED})"
        lines.append(f"| {v.network} | {v.tool} | {v.what} | {v.needed} | {v.reached} | {v.pairs}{few} | "
                     f"{'met' if v.met else '**not met**'} |")
    lines.append(f"\n{sum(v.met for v in found)} of {len(found)} bars met; each is the lower quartile of its runs.")
    for network in networks(results):
        of = [v for v in found if v.network == network]
        lines.append(f"{NETWORKS[network]}: {sum(v.met for v in of)} of {len(of)}.")
    return "\n".join(lines)
