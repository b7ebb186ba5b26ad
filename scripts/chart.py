#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The templates of the Helm chart, from the manifests that kustomize uses: one source for both.

    chart.py            writes deploy/kubernetes/chart/templates
    chart.py --check    says what would change, and ends with 1

What the chart does otherwise stands in comments of the manifests, which kustomize does not see:

    replicas: 2 #= .Values.controller.replicas      the value, or the block below the key, by an expression
    #{ if .Values.meta.enabled }                    an action of the template on a line of its own
    #| type: ExternalName                           a line of the chart only

Our images and the namespace are replaced everywhere.
"""
import re
import sys
from pathlib import Path

DEPLOY = Path(__file__).resolve().parent.parent / "deploy/kubernetes"
TEMPLATES = DEPLOY / "chart/templates"
COMPONENTS = "components/"

# template: (condition, files)
PARTS = {
    "csidriver": ("", ["base/csidriver.yaml"]),
    "quota": (".Values.resourceQuota", ["base/quota.yaml"]),
    "rbac": ("", ["base/rbac.yaml"]),
    "metaserver": ("", ["base/metaserver.yaml"]),
    "metaserver-outside": ("and .Values.meta.enabled .Values.meta.loadBalancer", [COMPONENTS + "meta-loadbalancer/service.yaml"]),
    "controller": ("", ["base/controller.yaml"]),
    "holder": ("", ["base/holder.yaml"]),
    "node": ("", ["base/node.yaml"]),
    "ready-taint": (".Values.node.readyTaint", [COMPONENTS + "ready-taint/rbac.yaml"]),
    "store": (".Values.embeddedStore.enabled", ["base/s3proxy.yaml"]),
    "gateway": (".Values.gateway.enabled", [COMPONENTS + "s3-gateway/gateway.yaml"]),
    "gateway-outside": ("and .Values.gateway.enabled .Values.gateway.tls", [COMPONENTS + "s3-tls/service.yaml"]),
    "webhook": (".Values.webhook.enabled", [COMPONENTS + "webhook/webhook.yaml"]),
    "storageclass": (".Values.storageClass.create", ["base/storageclass.yaml"]),
    "certs-job": ('eq .Values.certificates.by "job"', [COMPONENTS + "certs-job/certs.yaml"]),
    "cert-manager": ('eq .Values.certificates.by "cert-manager"',
                     [COMPONENTS + "cert-manager/certificates.yaml"]),
    "cert-manager-ca": ('and (eq .Values.certificates.by "cert-manager") (eq .Values.certificates.authority "yours")',
                        [COMPONENTS + "cert-manager-ca/issuer.yaml"]),
    "cert-manager-selfsigned":
        ('and (eq .Values.certificates.by "cert-manager") (eq .Values.certificates.authority "selfsigned")',
         [COMPONENTS + "cert-manager-selfsigned/issuer.yaml"]),
    "local-volumes": (".Values.localVolumes", [COMPONENTS + "hostpath-volumes/volumes.yaml"]),
    "network-policy": (".Values.networkPolicy.enabled", [COMPONENTS + "network-policy/network-policy.yaml"]),
    "admission-policy": (".Values.admissionPolicy.enabled", [COMPONENTS + "admission-policy/policy.yaml"]),
    "monitoring": (".Values.monitoring.enabled", [COMPONENTS + "monitoring/monitoring.yaml"]),
    "openshift": (".Values.openshift", [COMPONENTS + "openshift/scc.yaml"]),
}


def expression(indent, key, value, given):
    """A key or list item whose value the expression gives."""
    if given.startswith("toYaml"):
        return f"{indent}{key} {{{{- {given} | nindent {len(indent) + 2} }}}}"
    quoted = "" if re.fullmatch(r"[0-9]+|true|false", value) else " | quote"
    return f"{indent}{key} {{{{ {given}{quoted} }}}}"


def convert(text):
    out, skip_below = [], None
    for line in text.splitlines():
        indent = line[:len(line) - len(line.lstrip())]
        if skip_below is not None and line.strip() and len(indent) > skip_below:
            continue
        skip_below = None
        if line == "# SPDX-License-Identifier: Apache-2.0":
            continue
        if found := re.fullmatch(r"(\s*)#\{ (.*) \}", line):
            out.append(f"{found[1]}{{{{- {found[2]} }}}}")
            continue
        if found := re.fullmatch(r"(\s*)#\| (.*)", line):
            out.append(found[1] + found[2])
            continue
        # what Prometheus is to see, not Helm
        line = re.sub(r"\{\{(.*?)\}\}", lambda m: "{{ `" + m[0] + "` }}", line)
        if found := re.fullmatch(r"(\s*)(- [\w./-]+:|- |[\w./-]+:)\s*(.*?)\s*(?:# .*)?#= (.*)", line):
            out.append(expression(found[1], found[2].strip(), found[3], found[4]))
            skip_below = len(indent) + (2 if found[2].startswith("- ") and len(found[2]) > 2 else 0)
            continue
        line = re.sub(r"image: skyvol-([a-z0-9]+)$", r'image: {{ include "skyvol.image" (list $ "\1") }}', line)
        out.append(line.replace("skyvol-system", "{{ $.Release.Namespace }}"))
    return "\n".join(out) + "\n"


def template(condition, files):
    text = "---\n".join(convert((DEPLOY / file).read_text()) for file in files)
    note = f"{{{{- /* Made by scripts/chart.py from {' and '.join(files)}. */}}}}\n"
    return note + (f"{{{{- if {condition} }}}}\n{text}{{{{- end }}}}\n" if condition else text)


def main():
    made = {f"{name}.yaml": template(*part) for name, part in PARTS.items()}
    found = {path.name: path.read_text() for path in TEMPLATES.glob("*.yaml")}
    if "--check" in sys.argv[1:]:
        wrong = sorted(name for name in made.keys() | found.keys() if made.get(name) != found.get(name))
        for name in wrong:
            print(f"chart/templates/{name} is not what scripts/chart.py makes: run it")
        return 1 if wrong else 0
    TEMPLATES.mkdir(parents=True, exist_ok=True)
    for name in found.keys() - made.keys():
        (TEMPLATES / name).unlink()
    for name, text in made.items():
        (TEMPLATES / name).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
