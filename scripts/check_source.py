#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The gates over the source that need no compiler: layers, banned functions, size limits.

check_source.py layers|banned|limits|graph

layers   an include may point only down the layer rule of ARCHITECTURE.md
banned   functions that cannot be used safely, and a missing licence line
limits   functions of at most 60 lines and 6 parameters, files of 800, lines of 100 columns
graph    print which folder includes which (what ARCHITECTURE.md draws)
Each gate prints file:line and the rule, and ends with 1 if there was any finding.
"""
import pathlib
import re
import subprocess
import sys

# Which lib folders a lib folder may include besides itself; programs may include ALL but objstore,
# which is only for those named in OBJSTORE_USERS.
LIB_LAYERS = {
    "util": set(),
    "http": {"util"},
    "s3": {"util"},
    "placement": {"util"},
    "cache": {"util"},
    "rpc": {"util"},
    "mount": {"util"},
    "kube": {"util", "http"},
    "objstore": {"util", "http", "s3"},
    "csi": {"util", "rpc", "mount"},
    "volume": {"util", "objstore", "placement", "cache", "rpc"},
}
PROGRAMS = ["csi/controller", "csi/node", "csi/holder", "csi/webhook", "mounter", "metaserver",
            "s3proxy", "s3keys", "cli"]
# The request structure is objstore.h's and volume.h hands it through; everything else of objstore is
# for the metaserver (buckets) and the embedded store of the S3 endpoint only.
OBJSTORE_USERS = {"metaserver", "s3proxy"}
OBJSTORE_OPEN = {"objstore/objstore.h", "objstore/objstore_call.h"}
# One home for each foreign interface, so that it can be exchanged.
FOREIGN_HOME = {
    r"grpc/": {"lib/rpc"},
    r"curl/": {"lib/http"},
    r"fuse_lowlevel\.h|fuse3/|fuse\.h": {"mounter", "csi/holder", "tests/unit/mounter",
                                              "tests/bench/mount"},
    r"ngx_": {"s3proxy/module"},
    r"sqlite3\.h": {"lib/util", "lib/objstore", "metaserver", "tests/unit/metaserver",
                    "tests/unit/objstore"},
    r"expat\.h": {"lib/s3"},
    r"microhttpd\.h": {"lib/util"},
}
BANNED = (r"\b(strcpy|strcat|sprintf|vsprintf|strtok|atoi|atol|atoll|atof|gets|alloca|system|popen|"
          r"tmpnam|mktemp|rand|srand|asctime|ctime|gmtime|localtime)\s*\(")


def sources(*ends):
    out = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], check=True,
                         capture_output=True, text=True).stdout.split("\n")
    return [pathlib.Path(p) for p in out if p.endswith(ends) and pathlib.Path(p).is_file()]


def home_of(path):
    """The folder a file belongs to in the rule: lib/X, a program, or tests."""
    parts = path.parts
    if parts[0] == "lib":
        return "lib/" + parts[1]
    for program in PROGRAMS:
        if str(path).startswith(program + "/"):
            return program
    return "/".join(parts[:3]) if parts[0] == "tests" else parts[0]


def includes(path):
    for number, line in enumerate(path.read_text().split("\n"), 1):
        match = re.match(r'\s*#\s*include\s+(["<])([^">]+)[">]', line)
        if match:
            yield number, match.group(1) == '"', match.group(2)


def layer_fault(path, home, name, own):
    for pattern, homes in FOREIGN_HOME.items():
        if re.match(pattern, name) and not any(str(path).startswith(h + "/") for h in homes):
            return f"{name} is for {', '.join(sorted(homes))} only"
    if not own or home.startswith("tests"):
        return None
    folder = name.split("/")[0]
    if home.startswith("lib/"):
        mine = home[4:]
        if folder in LIB_LAYERS and folder != mine and folder not in LIB_LAYERS.get(mine, set()):
            return f"lib/{mine} may not include lib/{folder}"
        if any(name.startswith(p + "/") for p in PROGRAMS):
            return f"lib/{mine} may not include a program"
        return None
    for program in PROGRAMS:
        if name.startswith(program + "/") and program != home:
            return f"{home} may not include another program"
    if folder == "objstore" and name not in OBJSTORE_OPEN and home not in OBJSTORE_USERS:
        return f"{home} reaches stores by lib/volume only"
    return None


def check_layers():
    for path in sources(".c", ".h"):
        home = home_of(path)
        if home.startswith("lib/") and home[4:] not in LIB_LAYERS:
            yield path, 1, f"{home} has no place in the layer rule"
        for number, own, name in includes(path):
            fault = layer_fault(path, home, name, own)
            if fault:
                yield path, number, fault


def code_of(text):
    """The text without comments and strings, line numbers kept."""
    def blank(match):
        return re.sub(r"[^\n]", " ", match.group(0))
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', blank, text,
                  flags=re.S)


def check_banned():
    for path in sources(".c", ".h"):
        text = path.read_text()
        if "SPDX-License-Identifier: Apache-2.0" not in text.split("\n", 1)[0]:
            yield path, 1, "first line is not the SPDX line"
        for number, line in enumerate(code_of(text).split("\n"), 1):
            match = re.search(BANNED, line)
            if match:
                yield path, number, f"{match.group(1)}() is banned"
    for path in sources(".py", ".sh", ".proto", "Makefile"):
        if "SPDX-License-Identifier: Apache-2.0" not in "".join(path.read_text()[:400]):
            yield path, 1, "no SPDX line near the top"


def parameters(head):
    inner = head[head.find("(") + 1:]
    depth, count = 0, 1
    for char in inner:
        if char == "(":
            depth += 1
        elif char == ")":
            if depth == 0:
                break
            depth -= 1
        elif char == "," and depth == 0:
            count += 1
    return count


def check_limits():
    for path in sources(".c", ".h"):
        text = path.read_text()
        lines = text.split("\n")
        if len(lines) - 1 > 800:
            yield path, 800, f"file of {len(lines) - 1} lines (at most 800)"
        code = code_of(text).split("\n")
        for number, line in enumerate(lines, 1):
            if len(line) > 100:
                yield path, number, f"line of {len(line)} columns (at most 100)"
        start = None
        for number, line in enumerate(code, 1):
            if line == "{":
                start = number
            elif line == "}" and start:
                if number - start - 1 > 60:
                    yield path, start, f"function of {number - start - 1} lines (at most 60)"
                head = start - 1
                while head > 1 and code[head - 2].strip() and code[head - 2][-1] not in ";}":
                    head -= 1
                count = parameters("\n".join(code[head - 1:start - 1]))
                excused = head > 1 and "NOLINTNEXTLINE(readability-function-size" in lines[head - 2]
                if count > 6 and not excused:
                    yield path, head, f"function of {count} parameters (at most 6)"
                start = None


def graph():
    edges = {}
    for path in sources(".c", ".h"):
        home = home_of(path)
        if home.startswith("tests"):
            continue
        for _, own, name in includes(path):
            folder = name.split("/")[0]
            if own and folder in LIB_LAYERS and "lib/" + folder != home:
                edges.setdefault(home, set()).add(folder)
    for home in sorted(edges):
        print(f"{home}: {' '.join(sorted(edges[home]))}")


def main():
    gates = {"layers": check_layers, "banned": check_banned, "limits": check_limits}
    if sys.argv[1:] == ["graph"]:
        graph()
        return 0
    if len(sys.argv) != 2 or sys.argv[1] not in gates:
        print(__doc__, file=sys.stderr)
        return 2
    count = 0
    for path, number, text in gates[sys.argv[1]]():
        print(f"{path}:{number}: {text}")
        count += 1
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
