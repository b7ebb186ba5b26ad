# SPDX-License-Identifier: Apache-2.0
"""What our manifests must hold to. Each rule gives sentences about what breaks it; none is broken silently."""
import json
import re
from pathlib import Path

from images import ours

PRIVILEGED = {("skyvol-node", "node"), ("skyvol-holder", "holder")}  # mount for other pods
ROOT_PODS = {"skyvol-node", "skyvol-holder"}
NO_LIMIT = {("skyvol-holder", "holder")}  # what mounters share is counted there
TOKENS = {"skyvol-controller", "skyvol-certs", "skyvol-meta", "skyvol-webhook"}  # accounts that ask the API server
CLUSTER_WIDE = {"Namespace", "CSIDriver", "ClusterRole", "ClusterRoleBinding", "StorageClass", "PersistentVolume",
                "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding", "SecurityContextConstraints",
                "PriorityClass", "MutatingWebhookConfiguration"}


def pod_of(item):
    """The pod template of what has one."""
    if item["kind"] in ("Deployment", "DaemonSet", "StatefulSet", "Job"):
        return item["spec"]["template"]
    if item["kind"] == "CronJob":
        return item["spec"]["jobTemplate"]["spec"]["template"]
    return item if item["kind"] == "Pod" else None


def containers(pod):
    return pod["spec"].get("initContainers", []) + pod["spec"].get("containers", [])


def workloads(items):
    for item in items:
        if pod := pod_of(item):
            yield item, item["metadata"]["name"], pod


def root_only_where_named(items):
    for _, name, pod in workloads(items):
        own = pod["spec"].get("securityContext", {})
        if own.get("seccompProfile", {}).get("type") != "RuntimeDefault":
            yield f"{name}: no seccomp profile"
        if name not in ROOT_PODS and not (own.get("runAsNonRoot") is True and own.get("runAsUser", 0) > 0):
            yield f"{name}: may run as root"
        if name not in ROOT_PODS:
            for host in ("hostPID", "hostNetwork", "hostIPC"):
                if pod["spec"].get(host):
                    yield f"{name}: {host}"


def containers_may_little(items):
    for _, name, pod in workloads(items):
        for one in containers(pod):
            where, may = f"{name}/{one['name']}", one.get("securityContext", {})
            if may.get("readOnlyRootFilesystem") is not True:
                yield f"{where}: writes to its root file system"
            if (name, one["name"]) in PRIVILEGED:
                continue
            if may.get("privileged") or may.get("allowPrivilegeEscalation") is not False:
                yield f"{where}: is privileged or may become so"
            if may.get("capabilities", {}) != {"drop": ["ALL"]}:
                yield f"{where}: has capabilities"


def resources_are_told(items):
    for _, name, pod in workloads(items):
        for one in containers(pod):
            told = one.get("resources", {})
            if not {"cpu", "memory"} <= told.get("requests", {}).keys():
                yield f"{name}/{one['name']}: asks for no cpu and memory"
            if (name, one["name"]) not in NO_LIMIT and "memory" not in told.get("limits", {}):
                yield f"{name}/{one['name']}: has no limit of memory"


def servers_tell_when_they_are_ready(items):
    """Else a rollout goes on to the next node, and to the next mount, before anything works on this one."""
    for item, name, pod in workloads(items):
        if item["kind"] in ("Deployment", "DaemonSet", "StatefulSet") and \
                not any("readinessProbe" in c for c in containers(pod)):
            yield f"{name}: nobody tells when it is ready"


def nodes_without_a_machine_are_left_out(items):
    """Fargate and virtual kubelets take every DaemonSet that tolerates all, and can start none of its pods."""
    for item, name, pod in workloads(items):
        if item["kind"] == "DaemonSet" and {"operator": "Exists"} in (pod["spec"].get("tolerations") or []):
            text = json.dumps(pod["spec"].get("affinity", {}))
            if not ("fargate" in text and "virtual-kubelet" in text):
                yield f"{name}: is on nodes that have no machine"


def images_have_a_tag(items):
    for _, name, pod in workloads(items):
        for one in containers(pod):
            if not re.search(r":[^/:]+$|@sha256:", one["image"]) or one["image"].endswith(":latest"):
                yield f"{name}/{one['name']}: image {one['image']}"


def tokens_only_where_needed(items):
    accounts = {i["metadata"]["name"]: i for i in items if i["kind"] == "ServiceAccount"}
    # components/ready-taint: the node plugin has rights, and so a token
    tokens = TOKENS | {i["metadata"]["name"] for i in items if i["kind"] == "ClusterRole"}
    for _, name, pod in workloads(items):
        account = pod["spec"].get("serviceAccountName")
        if account not in accounts:
            yield f"{name}: its service account {account} is not there"
        elif account not in tokens and (pod["spec"].get("automountServiceAccountToken") is not False or
                                        accounts[account].get("automountServiceAccountToken") is not False):
            yield f"{name}: has a token that it does not need"


def paths_of_the_host_only_where_named(items):
    for _, name, pod in workloads(items):
        for volume in pod["spec"].get("volumes", []):
            if "hostPath" in volume and name not in ROOT_PODS:
                yield f"{name}: path of the host {volume['hostPath']['path']}"


def rights_are_narrow(items):
    for item in items:
        if item["kind"] not in ("ClusterRole", "Role"):
            continue
        name = item["metadata"]["name"]
        for rule in item.get("rules", []):
            resources, verbs = set(rule.get("resources", [])), set(rule["verbs"])
            if "*" in resources | verbs | set(rule.get("apiGroups", [])) or "nonResourceURLs" in rule:
                yield f"{name}: a wildcard"
            if verbs & {"escalate", "bind", "impersonate"} or any("/proxy" in r or "/exec" in r for r in resources):
                yield f"{name}: rights that give others: {rule}"
            if "secrets" in resources:
                if not verbs <= {"get", "create", "patch", "update"} or item["kind"] == "ClusterRole":
                    yield f"{name}: Secrets are listed, watched or of the whole cluster: {rule}"
                if verbs & {"patch", "update"} and not rule.get("resourceNames"):
                    yield f"{name}: any Secret can be changed"
            if "nodes" in resources and verbs - {"get", "list", "watch"} and name != "skyvol-node":
                yield f"{name}: changes nodes"


def references_lead_somewhere(items):
    here = {(i["kind"], i["metadata"]["name"]) for i in items}
    pods = [(name, pod) for _, name, pod in workloads(items)]
    ports = {name: {p["name"]: p for c in containers(pod) for p in c.get("ports", [])} for name, pod in pods}
    for item, name, pod in workloads(items):
        claims = [c["metadata"]["name"] for c in item["spec"].get("volumeClaimTemplates", [])]
        volumes = {v["name"] for v in pod["spec"].get("volumes", [])} | set(claims)
        used = {m["name"] for c in containers(pod) for m in c.get("volumeMounts", [])}
        for missing in used - volumes:
            yield f"{name}: mounts {missing}, which is not there"
        for idle in volumes - used:
            yield f"{name}: the volume {idle} is not mounted"
        for volume in pod["spec"].get("volumes", []):
            at = volume.get("configMap", {}).get("name")
            if at and at != "skyvol-trust" and ("ConfigMap", at) not in here:
                yield f"{name}: the ConfigMap {at} is not there"
        for one in containers(pod):
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                at = one.get(probe, {}).get("httpGet", {}).get("port")
                if at and at not in ports[name]:
                    yield f"{name}: the probe's port {at} is not there"

    def chosen(selector):
        return [n for n, p in pods if selector.items() <= p["metadata"]["labels"].items()]
    for item in items:
        spec, name = item.get("spec", {}), item["metadata"]["name"]
        if item["kind"] == "Service" and spec.get("type") != "ExternalName":
            for port in spec["ports"]:
                if not chosen(spec["selector"]) or any(port["targetPort"] not in ports[n]
                                                       for n in chosen(spec["selector"])):
                    yield f"Service {name}: nobody has the port {port['targetPort']}"
        if item["kind"] == "PodDisruptionBudget" and not chosen(spec["selector"]["matchLabels"]):
            yield f"PodDisruptionBudget {name}: of no pod"
        if item["kind"] == "HorizontalPodAutoscaler" and \
                (spec["scaleTargetRef"]["kind"], spec["scaleTargetRef"]["name"]) not in here:
            yield f"HorizontalPodAutoscaler {name}: of nothing"
        if item["kind"] in ("RoleBinding", "ClusterRoleBinding") and \
                (item["roleRef"]["kind"], item["roleRef"]["name"]) not in here:
            yield f"{name}: binds {item['roleRef']['name']}, which is not there"
        if item["kind"] not in CLUSTER_WIDE and item["metadata"].get("namespace") != "skyvol-system":
            yield f"{item['kind']} {name}: in the namespace {item['metadata'].get('namespace')}"


def names_are_unique(items):
    seen = set()
    for item in items:
        key = (item["kind"], item["metadata"]["name"])
        if key in seen:
            yield f"{key[0]} {key[1]}: twice"
        seen.add(key)


def metaserver_is_closed(items):
    """With any policy at all: all pods denied, and skyvol-meta open to those with the label only."""
    policies = {i["metadata"]["name"]: i["spec"] for i in items if i["kind"] == "NetworkPolicy"}
    if not policies:
        return
    if policies.get("skyvol-default-deny", {}).get("policyTypes") != ["Ingress", "Egress"] or \
            policies["skyvol-default-deny"].get("ingress"):
        yield "nothing denies what no policy names"
    label = {"skyvol.io/meta-client": "true"}
    for peer in policies["skyvol-meta"]["ingress"]:
        if peer.get("from") != [{"podSelector": {"matchLabels": label}}]:
            yield "skyvol-meta is open to more than the pods with the label"
    for _, name, pod in workloads(items):
        asks = any("skyvol-meta." in a for c in containers(pod) for a in c.get("args", []))
        if asks and not label.items() <= pod["metadata"]["labels"].items():
            yield f"{name}: asks skyvol-meta and has no label that lets it"


def services_and_tokens_pass_the_policies(items):
    """With any policy at all: who has a Service is let in there, and who has a token out to the API server."""
    policies = [i["spec"] for i in items if i["kind"] == "NetworkPolicy"]

    def open_ports(pod, way):
        labels = pod["metadata"]["labels"]
        for spec in policies:
            chosen = spec["podSelector"]
            if chosen.get("matchLabels", {}).items() <= labels.items() and \
                    all(labels.get(e["key"]) in e["values"] for e in chosen.get("matchExpressions", [])):
                yield from (port["port"] for rule in spec.get(way, []) for port in rule.get("ports", []))
    for _, name, pod in workloads(items if policies else []):
        for item in items:
            if item["kind"] == "Service" and item["spec"].get("selector", {"": ""}).items() <= \
                    pod["metadata"]["labels"].items():
                for port in item["spec"]["ports"]:
                    if port["targetPort"] not in open_ports(pod, "ingress"):
                        yield f"{name}: no NetworkPolicy lets in what the Service asks at {port['targetPort']}"
        if pod["spec"].get("automountServiceAccountToken", True) and 443 not in open_ports(pod, "egress"):
            yield f"{name}: no NetworkPolicy lets it ask the API server"


def commands_are_in_the_images(items):
    for _, name, pod in workloads(items):
        for one in containers(pod):
            image = re.search(r"skyvol-(\w+)[:@]", one["image"])
            hooks = [*one.get("lifecycle", {}).values(), *(v for k, v in one.items() if k.endswith("Probe"))]
            for command in [h["exec"]["command"] for h in hooks if "exec" in h] + \
                    ([one["command"]] if "command" in one else []):
                _, entry, programs, others = ours.IMAGES[image[1]] if image else (None, "", [], [])
                if image and Path(command[0]).name not in {entry, *programs, *(Path(o).name for o in others)}:
                    yield f"{name}/{one['name']}: {command[0]} is not in its image"


RULES = [root_only_where_named, containers_may_little, resources_are_told, images_have_a_tag, tokens_only_where_needed,
         servers_tell_when_they_are_ready, nodes_without_a_machine_are_left_out,
         paths_of_the_host_only_where_named, rights_are_narrow, references_lead_somewhere, names_are_unique,
         metaserver_is_closed, services_and_tokens_pass_the_policies, commands_are_in_the_images]


def broken(items):
    return [sentence for rule in RULES for sentence in rule(items)]


def spoilt(items):
    """Copies with one fault each, and who must find it: a rule that finds nothing is none."""
    def copy(change):
        new = json.loads(json.dumps(items))
        for item in new:
            change(item, pod_of(item))
        return new

    def container(change):
        return copy(lambda item, pod: pod and item["metadata"]["name"] == "skyvol-meta" and
                    change(pod["spec"]["containers"][0]))

    def rule(**more):
        return copy(lambda item, _: item["kind"] == "ClusterRole" and
                    item["rules"].append({"apiGroups": [""], "verbs": ["get"], **more}))

    def policy(item, _):
        if item["kind"] == "NetworkPolicy" and item["metadata"]["name"] == "skyvol-meta":
            item["spec"]["ingress"][0]["from"] = [{"podSelector": {}}]
    meta = "skyvol-meta"
    yield root_only_where_named, copy(lambda i, p: p and i["metadata"]["name"] == meta and
                                      p["spec"]["securityContext"].pop("runAsNonRoot"))
    yield containers_may_little, container(lambda c: c["securityContext"].update(privileged=True))
    yield containers_may_little, container(lambda c: c["securityContext"].pop("capabilities"))
    yield containers_may_little, container(lambda c: c["securityContext"].pop("readOnlyRootFilesystem"))
    yield resources_are_told, container(lambda c: c["resources"].pop("limits"))
    yield servers_tell_when_they_are_ready, container(lambda c: c.pop("readinessProbe"))
    yield nodes_without_a_machine_are_left_out, copy(lambda i, p: i["kind"] == "DaemonSet" and p["spec"].pop("affinity"))
    yield images_have_a_tag, container(lambda c: c.update(image="skyvol-meta"))
    yield tokens_only_where_needed, copy(lambda i, p: p and i["metadata"]["name"] == "skyvol-holder" and
                                         p["spec"].pop("automountServiceAccountToken"))
    yield paths_of_the_host_only_where_named, copy(
        lambda i, p: p and i["metadata"]["name"] == meta and
        p["spec"]["volumes"].append({"name": "x", "hostPath": {"path": "/"}}))
    yield rights_are_narrow, rule(resources=["*"])
    yield rights_are_narrow, rule(resources=["secrets"])
    yield rights_are_narrow, rule(resources=["nodes"], verbs=["patch"])
    yield references_lead_somewhere, container(lambda c: c["volumeMounts"].append({"name": "absent"}))
    yield references_lead_somewhere, copy(lambda i, _: i["kind"] == "Service" and i["spec"].update(
        selector={"app.kubernetes.io/name": "absent"}))
    yield names_are_unique, items + items[:1]
    yield commands_are_in_the_images, container(lambda c: c.update(
        lifecycle={"preStop": {"exec": {"command": ["/bin/sleep", "5"]}}}))
    if any(i["kind"] == "NetworkPolicy" for i in items):
        yield metaserver_is_closed, copy(policy)
        for gone in ({"skyvol-s3", "skyvol-nodes"}, {"skyvol-controller"}):
            yield services_and_tokens_pass_the_policies, [
                i for i in items if i["kind"] != "NetworkPolicy" or i["metadata"]["name"] not in gone]
