# SPDX-License-Identifier: Apache-2.0
"""Results as a table (Markdown) and as a plot (SVG, written here: no library)."""
import math
import statistics

import rows
from mounters import TOOLS

NETWORKS = {"loopback": "Store at loopback", "rtt20": "20 ms round trip, 90 MB/s a connection"}


def figure(row, value):
    unit = rows.ROWS[row].unit
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{digits}f} {unit}"


def plain(value):
    return f"{value:,.{0 if value >= 100 else 1 if value >= 10 else 2}f}"


def values(results, row, tool, network):
    """Figures of all runs, in order of the runs."""
    return [m["rows"][row] for m in results["measurements"]
            if m["tool"] == tool and m["store"] == network and row in m["rows"]]


def of_cell(results, cell, tool, network):
    return [m for m in results["measurements"]
            if m["tool"] == tool and m["store"] == network and m["cell"] == cell]


def cell_of(row):
    return next(name for name, cell in rows.CELLS.items() if row in cell.rows)


def entry(results, row, tool, network):
    found = values(results, row, tool, network)
    if not found:
        all_of = of_cell(results, cell_of(row), tool, network)
        if any("cut" in m for m in all_of):
            return f"cut at {max(m['cut'] for m in all_of if 'cut' in m):.0f} s"
        return "failed" if any("error" in m for m in all_of) else ""
    text = plain(statistics.median(found))
    if len(found) > 1:
        text += f" [{plain(min(found))}-{plain(max(found))}]"
    return text


def cost(results, cell, tool, network):
    """CPU seconds, MiB and requests of a cell, as medians."""
    found = [m for m in of_cell(results, cell, tool, network) if "cpu" in m and m["rows"]]
    if not found:
        return None
    requests = {}
    for m in found:
        for op, n in m["requests"].items():
            requests.setdefault(op, []).append(n)
    per_work = statistics.median(m["cpu"] / m.get("work", 1) for m in found)
    return {"cpu": per_work, "rss": statistics.median(m["rss"] for m in found),
            "requests": {op: round(statistics.median(n + [0] * (len(found) - len(n)))) for op, n in
                         requests.items()}}


def networks(results):
    return [n for n in NETWORKS if any(m["store"] == n for m in results["measurements"])]


def tools(results):
    return [t for t in TOOLS if any(m["tool"] == t for m in results["measurements"])]


def times_table(results, network):
    columns = tools(results)
    lines = ["| row | unit | " + " | ".join(columns) + " |", "|---" * (len(columns) + 2) + "|"]
    for row, what in rows.ROWS.items():
        cells = [entry(results, row, tool, network) for tool in columns]
        if any(cells):
            lines.append(f"| {what.title} | {what.unit} | " + " | ".join(cells) + " |")
    return lines


SHORT = {"PutObject": "PUT", "GetObject": "GET", "HeadObject": "HEAD", "ListObjects": "LIST", "ListObjectsV2": "LIST",
         "DeleteObject": "DELETE", "DeleteObjects": "batch DELETE", "CopyObject": "COPY", "UploadPart": "part",
         "UploadPartCopy": "part copy", "CreateMultipartUpload": "upload begun",
         "CompleteMultipartUpload": "upload ended", "AbortMultipartUpload": "upload dropped"}


def short_requests(requests):
    ranked = sorted(requests.items(), key=lambda x: (-x[1], x[0]))
    return ", ".join(f"{n:,} {SHORT.get(op, op)}" for op, n in ranked if n) or "none"


def cpu_and_memory(found):
    return f"{found['cpu']:.2f} ({found['rss']:,.0f})"


def cell_table(results, network, show):
    """A line for each cell, a column for each mounter."""
    columns = [t for t in tools(results) if t != "raw"]
    lines = ["| work | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for cell in rows.CELLS:
        found = [cost(results, cell, tool, network) for tool in columns]
        if any(found):
            thousand = " (each 1,000)" if cell.startswith("randread") and show is cpu_and_memory else ""
            lines.append(f"| {cell}{thousand} | " + " | ".join(show(f) if f else "" for f in found) + " |")
    return lines


def table(results):
    lines = []
    for network in networks(results):
        runs = max((m["run"] for m in results["measurements"] if m["store"] == network), default=0)
        lines += [f"### {NETWORKS[network]}", "", f"Median [min-max] of up to {runs} runs.", ""]
        lines += times_table(results, network)
        lines += ["", "CPU seconds of the mounter (peak MiB in parentheses):", ""]
        lines += cell_table(results, network, cpu_and_memory)
        lines += ["", "Requests:", ""]
        lines += cell_table(results, network, lambda found: short_requests(found["requests"]))
        lines.append("")
    return "\n".join(lines)


# ---- the plot: for each row, speed relative to skyvol-fsync's best peer, one dot a tool ----

COLOURS = {"skyvol-fsync": "#0b6e4f", "skyvol-close": "#6bbf59", "skyvol-default": "#3a86ff",
           "skyvol-list": "#00b4d8",
           "geesefs": "#d1495b", "s3fs": "#edae49",
           "rclone": "#7768ae", "null": "#999999", "raw": "#222222"}
NAMES = {"null": "FUSE alone", "raw": "raw requests"}
LEFT, WIDTH, LINE, TOP = 330, 560, 20, 70
DECADES = (0.1, 100)  # the axis: speed as a multiple of the fastest peer's


def speed(row, value):
    return value if rows.higher_is_better(row) else 1 / max(value, 1e-6)


def ratios(results, row, network):
    """Speed of each tool as a multiple of the fastest peer's; None where no peer has a figure."""
    found = {t: statistics.median(values(results, row, t, network)) for t in tools(results)
             if values(results, row, t, network)}
    peers = [speed(row, found[t]) for t in ("geesefs", "s3fs", "rclone") if t in found]
    if not peers:
        return None
    return {t: speed(row, value) / max(peers) for t, value in found.items()}


def place(ratio):
    low, high = (math.log10(x) for x in DECADES)
    return LEFT + WIDTH * (min(max(math.log10(ratio), low), high) - low) / (high - low)


def axis(top, bottom):
    parts = []
    ratio = DECADES[0]
    while ratio <= DECADES[1] * 1.001:
        x = place(ratio)
        bold = abs(ratio - 1) < 1e-9
        parts.append(f'<line x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{bottom}" '
                     f'stroke="{"#555" if bold else "#ddd"}"/>'
                     f'<text x="{x:.1f}" y="{top - 6}" text-anchor="middle">{ratio:g}x</text>')
        ratio *= 10
    x = place(2)
    parts.append(f'<line x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{bottom}" stroke="#0b6e4f" '
                 'stroke-dasharray="4 3"/>'
                 f'<text x="{x:.1f}" y="{top - 6}" text-anchor="start" fill="#0b6e4f">2x</text>')
    return parts


def panel(results, network, top):
    parts, y = [], top + 40
    shown = [(row, ratios(results, row, network)) for row in rows.ROWS]
    shown = [(row, found) for row, found in shown if found]
    bottom = y + LINE * len(shown)
    parts.append(f'<text x="10" y="{top + 10}" font-weight="bold">{NETWORKS[network]}</text>')
    parts += axis(y, bottom)
    for row, found in shown:
        y += LINE
        parts.append(f'<text x="{LEFT - 8}" y="{y - 5}" text-anchor="end">{rows.ROWS[row].title}</text>')
        for tool in tools(results):
            if entry(results, row, tool, network).startswith(("cut", "failed")):
                parts.append(f'<text x="{LEFT - 2 + 6 * tools(results).index(tool)}" y="{y - 5}" '
                             f'fill="{COLOURS[tool]}" font-weight="bold">&#215;<title>{tool}: '
                             f'{entry(results, row, tool, network)}</title></text>')
        for tool, ratio in found.items():
            parts.append(f'<circle cx="{place(ratio):.1f}" cy="{y - 9}" r="5" fill="{COLOURS[tool]}" '
                         f'fill-opacity="0.85"><title>{tool}: {ratio:.2f}x</title></circle>')
    return parts, bottom + 20


def plot(results):
    y, parts = TOP, []
    for network in networks(results):
        more, y = panel(results, network, y)
        parts += more
    legend, x = [], 10
    for tool in tools(results):
        legend.append(f'<circle cx="{x + 5}" cy="42" r="5" fill="{COLOURS[tool]}"/>'
                      f'<text x="{x + 14}" y="46">{NAMES.get(tool, tool)}</text>')
        x += 30 + 7 * len(NAMES.get(tool, tool))
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + 40}" height="{y}" '
            'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>'
            '<text x="10" y="20" font-size="15">'
            'Speed as a multiple of the fastest peer (log scale; right is faster; &#215;: cut)'
            f'</text>{"".join(legend)}{"".join(parts)}</svg>\n')
