# SPDX-License-Identifier: Apache-2.0
"""What a run of bench_s3.py found: the table, the bars of the goals, the plot."""
import statistics

SERVERS = ("skyvol-s3", "versitygw", "nginx")
BYTES = {"4k": 4096, "1m": 1 << 20, "64m": 64 << 20}
COLOURS = {"skyvol-s3": "#1f6feb", "versitygw": "#d29922", "nginx": "#8b949e"}


def cells(results):
    found = []
    for r in results:
        cell = (r["scheme"], r["operation"], r["size"], r["connections"])
        if cell not in found:
            found.append(cell)
    return found


def of(results, cell, server, what="cpu_us"):
    return [r[what] for r in results
            if (r["scheme"], r["operation"], r["size"], r["connections"]) == cell and r["server"] == server]


def ratios(results, cell, other):
    """Run by run: what was measured one after the other is compared."""
    return [a / b for a, b in zip(of(results, cell, "skyvol-s3"), of(results, cell, other))]


def bars(results, cell):
    """(what the goal is, what was found, met)"""
    _, operation, size, _ = cell
    ours = statistics.median(of(results, cell, "skyvol-s3"))
    peer = statistics.median(ratios(results, cell, "versitygw"))
    floor = statistics.median(ratios(results, cell, "nginx"))
    if size == "4k":
        limit = 30 if operation == "get" else 200
        yield f"<= {limit} us", f"{ours:.0f} us", ours <= limit
        yield "<= 1/4 versitygw", f"{peer:.2f}", peer <= 0.25
    elif operation == "get":
        yield "<= 1.3 nginx", f"{floor:.2f}", floor <= 1.3
        yield "<= versitygw", f"{peer:.2f}", peer <= 1
    else:
        cost = ours / 1e6 / (BYTES[size] / 1e9)
        yield "<= 2.5 s/GB", f"{cost:.2f} s/GB", cost <= 2.5
        yield "<= 1/2 versitygw", f"{peer:.2f}", peer <= 0.5


def amount(value):
    return f"{value:.0f}" if value < 10_000 else f"{value / 1000:.0f}k"


def spread(values):
    middle, low, high = statistics.median(values), min(values), max(values)
    return amount(middle) if len(values) == 1 else f"{amount(middle)} ({amount(low)}-{amount(high)})"


def table(results):
    lines = ["| cell | skyvol-s3 | versitygw | nginx | goal: found | p99 ms: ours, versitygw |",
             "|---|---|---|---|---|---|"]
    met = total = 0
    for cell in cells(results):
        scheme, operation, size, connections = cell
        judged = list(bars(results, cell))
        met += sum(ok for _, _, ok in judged)
        total += len(judged)
        slow = [statistics.median(of(results, cell, s, "p99_ms")) for s in SERVERS[:2]]
        lines.append(
            f"| {scheme} {operation.upper()} {size} x{connections} | "
            + " | ".join(spread(of(results, cell, s)) for s in SERVERS) + " | "
            + "; ".join(f"{goal}: {found}{'' if ok else ' **missed**'}" for goal, found, ok in judged)
            + f" | {slow[0]:.1f}, {slow[1]:.1f} |")
    peak = {s: max(r["memory"] for r in results if r["server"] == s) / (1 << 20) for s in SERVERS}
    lines += ["", f"CPU microseconds of one request, median (lowest-highest) of {len({r['run'] for r in results})} runs. "
              f"Goals met: {met} of {total}. Most memory after a cell (PSS): "
              + ", ".join(f"{s} {peak[s]:.0f} MiB" for s in SERVERS) + "."]
    return "\n".join(lines) + "\n"


def plot(results):
    """A bar of each server for each cell, in units of versitygw's."""
    shown = cells(results)
    width, row, left, top = 760, 34, 190, 40
    scale = (width - left - 90) / 1.5
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{top + row * len(shown) + 20}" '
           'font-family="sans-serif" font-size="11">',
           '<rect width="100%" height="100%" fill="white"/>',
           '<text x="8" y="18" font-size="13">CPU of a request, versitygw = 1 (less is better)</text>']
    for i, server in enumerate(SERVERS):
        out.append(f'<rect x="{left + i * 110}" y="24" width="10" height="10" fill="{COLOURS[server]}"/>'
                   f'<text x="{left + i * 110 + 14}" y="33">{server}</text>')
    for i, cell in enumerate(shown):
        scheme, operation, size, connections = cell
        y = top + i * row
        unit = statistics.median(of(results, cell, "versitygw"))
        out.append(f'<text x="8" y="{y + 18}">{scheme} {operation.upper()} {size} x{connections}</text>')
        for j, server in enumerate(SERVERS):
            value = statistics.median(of(results, cell, server))
            length = min(value / unit, 1.5) * scale
            out.append(f'<rect x="{left}" y="{y + 2 + j * 9}" width="{length:.1f}" height="8" '
                       f'fill="{COLOURS[server]}"/><text x="{left + length + 4:.1f}" y="{y + 10 + j * 9}" '
                       f'font-size="9">{amount(value)} us</text>')
    return "\n".join(out) + "\n</svg>\n"
