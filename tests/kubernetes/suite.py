# SPDX-License-Identifier: Apache-2.0
"""Kubernetes' own storage suite for drivers outside of its tree: docs/kubernetes-testing.md."""
import collections
import json
import os
import re
import subprocess
import xml.etree.ElementTree

from kube import DRIVER, StepError

# What a driver can do decides which specs run: test/e2e/storage/framework/testdriver.go.
CAPABILITIES = ["persistence", "exec", "multipods", "RWX", "capReadOnlyMany", "readWriteOncePod", "fsGroup",
                "volumeMountGroup", "multiplePVsSameID"]
PATTERN = "External.Storage"
# Disruptive ones stop kubelet by systemd over SSH; features are gates that a default cluster has off; the
# volume populator is two images that no module or package holds.
LEFT_OUT = r"\[Feature:|\[Disruptive\]|with any volume data source"
# Two shares of suites; a third process has what is in neither. Most of a spec is waiting.
SHARES = [r"\] subPath", r"\] (provisioning|volumeMode|volumeIO|volumeLimits|capacity|topology|snapshottable)"]
TIMEOUT_S = 3 * 3600


def driver():
    """The description that the suite wants, of our driver on the storage class of the overlay dev."""
    return {"ShortName": "skyvol", "StorageClass": {"FromExistingClassName": "skyvol"},
            "DriverInfo": {"Name": DRIVER, "SupportedFsType": {"": {}},
                           "SupportedSizeRange": {"Min": "1Mi", "Max": "1Ti"},
                           "RequiredAccessModes": ["ReadWriteOnce"],
                           "Capabilities": {name: True for name in CAPABILITIES}}}


def shares(focus):
    """What to run and what to leave out, of each process."""
    if focus:
        return [(focus, LEFT_OUT)]
    return [(share, LEFT_OUT) for share in SHARES] + [("", "|".join([LEFT_OUT, *SHARES]))]


def begin(program, kubeconfig, out, number, focus, skip):
    names = out / "images.yaml"
    names.write_text("promoterE2eRegistry: localhost\ngcRegistry: localhost\n")
    description = out / "driver.yaml"  # JSON is YAML
    description.write_text(json.dumps(driver(), indent=2))
    command = [program, f"-kubeconfig={kubeconfig}", f"-storage.testdriver={description}", f"-repo-root={out}",
               f"-ginkgo.focus={PATTERN}.*{focus}", f"-ginkgo.skip={skip}", f"-ginkgo.timeout={TIMEOUT_S}s",
               f"-ginkgo.junit-report={out}/{number}.xml", "-ginkgo.no-color", "-ginkgo.v",
               "-delete-namespace-on-failure=true", "-node-os-distro=custom"]
    with (out / f"{number}.log").open("w") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, cwd=out,
                                env=os.environ | {"KUBE_TEST_REPO_LIST": str(names)})


def short(name):
    """Without what is the same for all."""
    name = re.sub(r"^\[It\] (\[sig-storage\] )?External Storage \[Driver: [^]]*\] ", "", name)
    return re.sub(r"\[Testpattern: ([^]]*)\]", r"\1:", name)


def results(out, number, focus, skip):
    """Name, state (passed, failed, skipped) and reason of the specs that were this process's to run."""
    path = out / f"{number}.xml"
    if not path.exists():
        raise StepError(f"the suite ended without a report: {out}/{number}.log")
    for case in xml.etree.ElementTree.parse(path).getroot().iter("testcase"):
        name = case.get("name")
        if re.search(PATTERN, name) and re.search(focus, name) and not re.search(skip, name):
            told = case.find("skipped" if case.get("status") == "skipped" else "failure")
            reason = told.get("message", "") if told is not None else ""
            yield short(name), case.get("status"), reason.removeprefix("skipped - ").strip().splitlines()[:1]


def report(found):
    """For docs/conformance.md: what passed, and why the others did not run."""
    counts = collections.Counter(state for _, state, _ in found)
    lines = [f"{counts['passed']} passed, {len(found) - counts['passed'] - counts['skipped']} failed, "
             f"{counts['skipped']} not for this driver", ""]
    lines += [f"- {name}" for name, state, _ in sorted(found) if state == "passed"]
    lines += ["", "Not for this driver:", ""]
    reasons = collections.Counter((reason or ["it was not begun"])[0] for _, state, reason in found if state == "skipped")
    lines += [f"- {count} x {reason}" for reason, count in reasons.most_common()]
    return "\n".join(lines) + "\n"


def run(program, kubeconfig, out, focus=""):
    """All of it, or the specs whose names match; the failed ones are an error."""
    out.mkdir(parents=True, exist_ok=True)
    mine = list(enumerate(shares(focus)))
    processes = [begin(program, kubeconfig, out, n, *share) for n, share in mine]
    try:
        for process in processes:
            process.wait(TIMEOUT_S + 300)
    finally:
        for process in processes:
            if process.poll() is None:
                process.terminate()
    found = [one for n, share in mine for one in results(out, n, *share)]
    (out / "report.md").write_text(report(found))
    print(report(found), flush=True)
    failed = [f"{name}: {' '.join(reason)}" for name, state, reason in found if state not in ("passed", "skipped")]
    if failed or not any(state == "passed" for _, state, _ in found):
        raise StepError(f"{len(failed)} failed (logs: {out}):\n  " + "\n  ".join(failed))
