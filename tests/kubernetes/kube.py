# SPDX-License-Identifier: Apache-2.0
"""kubectl for the steps: apply, wait, look; and the embedded store by S3."""
import base64
import contextlib
import json
import os
import re
import signal
import subprocess
import time

SYSTEM = "skyvol-system"
DRIVER = "csi.skyvol.io"


class StepError(Exception):
    pass


class Kube:
    def __init__(self, kubectl, kubeconfig, namespace, busybox, tools=None):
        """`busybox` and `tools` are images: a shell, and one with fio and boto3 beside it, if there is one."""
        self.command = [str(kubectl), f"--kubeconfig={kubeconfig}", "--request-timeout=60s"]
        self.namespace, self.busybox, self.tools = namespace, busybox, tools

    def run(self, *arguments, check=True, timeout=120, data=None):
        try:
            done = subprocess.run([*self.command, *map(str, arguments)], check=False, text=True,
                                  capture_output=True, timeout=timeout, input=data)
        except subprocess.TimeoutExpired as e:
            raise StepError(f"kubectl {' '.join(map(str, arguments[:4]))}: no answer in {timeout} s") from e
        if check and done.returncode != 0:
            raise StepError(f"kubectl {' '.join(map(str, arguments[:5]))}: {done.stderr.strip()[-600:]}")
        return done.stdout

    def get(self, *arguments, namespace=None):
        """An object, or None where there is none; a list with no name."""
        text = self.run("-n", namespace or self.namespace, "get", *arguments, "--ignore-not-found", "-o", "json")
        return json.loads(text) if text.strip() else None

    def items(self, *arguments, namespace=None):
        return (self.get(*arguments, namespace=namespace) or {}).get("items", [])

    def apply(self, *objects):
        for one in objects:
            one.setdefault("metadata", {}).setdefault("namespace", self.namespace)
        self.run("apply", "-f", "-", data=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))

    def delete(self, *arguments, seconds=120, namespace=None):
        """Nothing hangs in Terminating: it is gone within `seconds`."""
        self.run("-n", namespace or self.namespace, "delete", *arguments, "--ignore-not-found",
                 f"--timeout={seconds}s", timeout=seconds + 30)

    def skyvolctl(self, *arguments, data=None):
        """What it prints, where the documentation runs it: beside skyvol-meta."""
        return self.run("-n", SYSTEM, "exec", "-i", "skyvol-meta-0", "-c", "stores", "--", "skyvolctl", *arguments,
                        data=data or "")

    def execute(self, pod, script, check=True, timeout=120):
        return self.run("-n", self.namespace, "exec", pod, "--", "sh", "-c", script, check=check,
                        timeout=timeout)

    def logs(self, pod):
        return self.run("-n", self.namespace, "logs", pod)

    def wait(self, what, seconds, condition):
        end = time.monotonic() + seconds
        while True:
            found = condition()
            if found:
                return found
            if time.monotonic() > end:
                raise StepError(f"not within {seconds} s: {what}")
            time.sleep(0.3)

    # --- objects -------------------------------------------------------------

    def claim(self, name, mode="ReadWriteMany", size="1Gi", storage_class="skyvol", **spec):
        return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name},
                "spec": {"accessModes": [mode], "resources": {"requests": {"storage": size}},
                         "storageClassName": storage_class} | spec}

    def pod(self, name, script, claim=None, volume=None, read_only=False, labels=None, image=None):
        volume = volume or {"persistentVolumeClaim": {"claimName": claim}}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels or {}},
                "spec": {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1,
                         "automountServiceAccountToken": False,
                         "containers": [{"name": "c", "image": image or self.busybox, "command": ["sh", "-c", script],
                                         "volumeMounts": [{"name": "data", "mountPath": "/data",
                                                           "readOnly": read_only}]}],
                         "volumes": [{"name": "data"} | volume]}}

    def phase(self, pod):
        found = self.get("pod", pod)
        return found["status"].get("phase") if found else None

    def running(self, *pods, seconds=120):
        for pod in pods:
            def there(pod=pod):
                phase = self.phase(pod)
                if phase in ("Failed", "Succeeded"):
                    raise StepError(f"pod {pod} has {phase}: {self.logs(pod)[-500:]}")
                return phase == "Running"
            try:
                self.wait(f"{pod} runs", seconds, there)
            except StepError as e:
                raise StepError(f"{e}; events: {self.told(pod)[-700:]}") from e

    def succeeded(self, pod, seconds=120):
        def ended():
            phase = self.phase(pod)
            if phase == "Failed":
                raise StepError(f"pod {pod} failed: {self.logs(pod)[-500:]}")
            return phase == "Succeeded"
        try:
            self.wait(f"end of {pod}", seconds, ended)
        except StepError as e:
            raise StepError(f"{e}; events: {self.told(pod)[-700:]}") from e
        return self.logs(pod)

    def told(self, name):
        """The messages of the events about an object."""
        events = self.items("events", f"--field-selector=involvedObject.name={name}")
        return "\n".join(e.get("message", "") for e in events)

    def says(self, name, pattern, seconds=120):
        """An event about `name` with a message that matches: this is what its user sees."""
        try:
            return self.wait(f"an event of {name} that says /{pattern}/", seconds,
                             lambda: re.search(pattern, self.told(name)))
        except StepError as e:
            raise StepError(f"{e}; there is: {self.told(name)[-900:]}") from e

    def rolled_out(self, *names, seconds=240):
        for name in names:
            self.run("-n", SYSTEM, "rollout", "status", name, f"--timeout={seconds}s", timeout=seconds + 30)

    def system_pods(self, name):
        """Names of the pods of one of our parts that are not on their way out."""
        pods = self.items("pods", f"-l=app.kubernetes.io/name={name}", namespace=SYSTEM)
        return [p["metadata"]["name"] for p in pods if "deletionTimestamp" not in p["metadata"]]

    # --- the embedded store --------------------------------------------------

    @contextlib.contextmanager
    def forward(self, service, port, namespace=SYSTEM):
        process = subprocess.Popen([*self.command[:2], "-n", namespace, "port-forward", f"svc/{service}",
                                    f":{port}"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            line = process.stdout.readline()
            match = re.search(r"127\.0\.0\.1:(\d+)", line)
            if not match:
                raise StepError(f"port-forward to {service}: {line.strip()}")
            yield int(match[1])
        finally:
            os.kill(process.pid, signal.SIGTERM)
            process.wait(10)

    def secret(self, name):
        data = self.get("secret", name, namespace=SYSTEM)["data"]
        return {key: base64.b64decode(value).decode() for key, value in data.items()}

    @contextlib.contextmanager
    def store(self, keys=None, namespace=SYSTEM):
        """A boto3 client of the embedded store, or of such a one in a namespace of its own."""
        import boto3
        import botocore.config
        keys = keys or self.secret("skyvol-s3-keys")
        with self.forward("skyvol-s3", 9000, namespace) as port:
            yield boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}", region_name="us-east-1",
                               aws_access_key_id=keys["access_key"], aws_secret_access_key=keys["secret_key"],
                               config=botocore.config.Config(retries={"max_attempts": 3}))
