"""The chart and what can be wrong with the objects that it makes: by Kubernetes' schemas, and with one another."""

import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "helm" / "qwen3-triton"
HELM = ROOT / "build" / "kubernetes" / "helm" / "helm"
KUBECTL = ROOT / "build" / "kubernetes" / "kubectl" / "kubectl"

Object = dict[str, Any]

_SELECTOR = ("app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/component")
_SELECTING = ("Deployment", "NetworkPolicy", "PodDisruptionBudget", "Service")
_END_S = 5  # that a process may take to end after draining: `qwen3-triton serve` kills Triton then


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a program; the caller looks at its exit code."""
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def render(*options: str, chart: Path = CHART) -> list[Object]:
    """Return the objects that helm makes of the chart.

    Raises:
        ValueError: helm refuses; the message is helm's.
    """
    done = run(HELM, "template", "search", chart, "--namespace", "retrieval", *options)
    if done.returncode:
        raise ValueError(done.stderr)
    return [each for each in yaml.safe_load_all(done.stdout) if each]


def of_kind(objects: list[Object], kind: str) -> list[Object]:
    """The objects of one kind."""
    return [each for each in objects if each["kind"] == kind]


def component(objects: list[Object], kind: str, name: str) -> Object:
    """The one object of a kind that belongs to a component of the chart, such as triton."""
    (found,) = (each for each in of_kind(objects, kind) if each["metadata"]["labels"][_SELECTOR[2]] == name)
    return found


@dataclass(frozen=True)
class Pod:
    """The pods of a Deployment or a Job: their labels and their specification."""

    owner: str
    labels: Mapping[str, str]
    spec: Object

    @property
    def containers(self) -> list[Object]:
        """Init containers first."""
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]

    def port(self, port: str | int) -> int | None:
        """The number of a container's port, by its name or number; None if no container has it."""
        for each in (each for container in self.containers for each in container.get("ports", [])):
            if port in (each["name"], each["containerPort"]):
                number: int = each["containerPort"]
                return number
        return None


def pods(objects: list[Object]) -> list[Pod]:
    """The pods that the objects start."""
    return [
        Pod(f"{each['kind']} {each['metadata']['name']}", template["metadata"]["labels"], template["spec"])
        for each in objects
        if (template := each.get("spec", {}).get("template")) and each["kind"] in ("Deployment", "Job")
    ]


def problems(objects: list[Object], *, version: str) -> list[str]:
    """Everything that is wrong with the objects of a chart, in sentences.

    Args:
        objects: what helm made.
        version: of Kubernetes, such as `1.35`.
    """
    found = [
        f"{each['kind']} {each['metadata']['name']}: {error}" for each in objects for error in _schema(each, version)
    ]
    if found:
        return found  # the checks below read the objects as the schemas describe them
    names = [(each["kind"], each["metadata"]["name"]) for each in objects]
    found = [f"there are two of {kind} {name}" for kind, name in set(names) if names.count((kind, name)) > 1]
    found += [f"the name {name} is too long" for _, name in names if len(name) > 63]
    for pod in pods(objects):
        found += [f"{pod.owner}: {error}" for error in (*_confinement(pod), *_volumes(pod, objects), *_life(pod))]
    return [*found, *_selections(objects), *_scaling(objects), *_isolation(objects)]


def _schema(object_: Object, version: str) -> Iterator[str]:
    """What Kubernetes' strict schemas refuse, or those of the operators that read custom resources."""
    from kubernetes_validate import SchemaNotFoundError, ValidationError, validate

    if object_["kind"] in ("ScaledObject", "ServiceMonitor"):
        from cloudcoil.models.keda.v1alpha1 import ScaledObject
        from cloudcoil.models.prometheus_operator.v1 import ServiceMonitor
        from pydantic import ValidationError as ModelError

        model = ScaledObject if object_["kind"] == "ScaledObject" else ServiceMonitor
        try:
            read = model.model_validate(object_).model_dump(by_alias=True, exclude_unset=True, mode="json")
        except ModelError as error:
            yield str(error)
        else:
            yield from (f"{path} is unknown" for path in _missing(object_, read))
        return
    try:
        validate(object_, version, strict=True)
    except ValidationError as error:
        yield f"{'.'.join(map(str, error.path))}: {error.message}"
    except SchemaNotFoundError as error:
        yield str(error.message)


def _missing(written: object, read: object, path: str = "") -> Iterator[str]:
    """The paths of what a model ignored when it read an object."""
    if isinstance(written, dict) and isinstance(read, dict):
        for key, value in written.items():
            if key in read:
                yield from _missing(value, read[key], f"{path}.{key}")
            else:
                yield f"{path}.{key}"
    elif isinstance(written, list) and isinstance(read, list):
        for index, value in enumerate(written):
            yield from _missing(value, read[index], f"{path}[{index}]")


def _confinement(pod: Pod) -> Iterator[str]:
    """What Kubernetes' restricted profile of pod security wants, and a read-only root."""
    context = pod.spec.get("securityContext", {})
    if not (context.get("runAsNonRoot") and context.get("runAsUser")):
        yield "it may run as root"
    if context.get("seccompProfile") != {"type": "RuntimeDefault"}:
        yield "it has no seccomp profile"
    if pod.spec.get("automountServiceAccountToken") is not False:
        yield "it has a token of the cluster's API"
    if pod.spec.get("enableServiceLinks") is not False:
        yield "names of services become environment variables, perhaps those of the programs"
    if any(pod.spec.get(key) for key in ("hostNetwork", "hostPID", "hostIPC")):
        yield "it shares the host's namespaces"
    for container in pod.containers:
        own = container.get("securityContext", {})
        if (own.get("allowPrivilegeEscalation"), own.get("capabilities")) != (False, {"drop": ["ALL"]}):
            yield f"{container['name']} may gain privileges"
        if not own.get("readOnlyRootFilesystem"):
            yield f"{container['name']} can write to its image"
        if not re.search(r":v?\d+\.\d+\.\d+(@sha256:[0-9a-f]{64})?$", container["image"]):
            yield f"the image {container['image']} is not pinned"
        resources = container.get("resources", {})
        if not ({"cpu", "memory"} <= set(resources.get("requests", {})) and "memory" in resources.get("limits", {})):
            yield f"{container['name']} has no requests or no limit of memory"


def _volumes(pod: Pod, objects: list[Object]) -> Iterator[str]:
    """Mounts without a volume, volumes without a mount, claims that nobody makes."""
    volumes = {each["name"]: each for each in pod.spec.get("volumes", [])}
    mounts = [mount for container in pod.containers for mount in container.get("volumeMounts", [])]
    if {mount["name"] for mount in mounts} != set(volumes):
        yield f"its volumes are {sorted(volumes)}, and its mounts {sorted({mount['name'] for mount in mounts})}"
    claims = {each["metadata"]["name"] for each in of_kind(objects, "PersistentVolumeClaim")}
    for volume in volumes.values():
        claim = volume.get("persistentVolumeClaim", {}).get("claimName")
        if claim and claim not in claims and claim.startswith("search"):
            yield f"nobody makes the claim {claim}"
    for container in pod.spec["containers"]:
        if "/tmp" not in {mount["mountPath"] for mount in container.get("volumeMounts", [])}:
            yield f"{container['name']} has no /tmp"
    is_export = pod.labels[_SELECTOR[2]] == "export"
    if any(mount["name"] == "models" and bool(mount.get("readOnly")) == is_export for mount in mounts):
        yield "only an export may write to the models, and it must"


def drain_s(container: Object) -> int:
    """The seconds that a container's program may take to finish accepted requests, by its arguments."""
    pattern = r"--(?:drain-timeout|exit-timeout-secs)=(\d+)"
    return max(int(found) for found in re.findall(pattern, "\n".join(container["args"])))


def _life(pod: Pod) -> Iterator[str]:
    """Probes, and time to stop, of what serves."""
    if pod.owner.startswith("Job"):
        if pod.spec.get("restartPolicy") not in ("Never", "OnFailure"):
            yield "a Job may not restart always"
        return
    (container,) = pod.spec["containers"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        port = container.get(probe, {}).get("httpGet", {}).get("port")
        if port is None or pod.port(port) is None:
            yield f"its {probe} asks no port of its own"
    before = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    if not before:
        yield "it stops before its clients know"
    if pod.spec.get("terminationGracePeriodSeconds", 30) < before + drain_s(container) + _END_S:
        yield "it is killed before accepted requests are finished"


def _selections(objects: list[Object]) -> Iterator[str]:
    """Selectors that select nothing, and ports that nothing has."""
    for each in objects:
        kind, name, spec = each["kind"], each["metadata"]["name"], each.get("spec", {})
        selector = spec.get("podSelector") or spec.get("selector")
        selector = selector.get("matchLabels", selector) if kind in _SELECTING else None
        if selector is None:
            continue
        chosen = [pod for pod in pods(objects) if selector.items() <= pod.labels.items()]
        if len({pod.labels[_SELECTOR[2]] for pod in chosen}) != 1:
            yield f"{kind} {name} selects the pods of {sorted(pod.owner for pod in chosen)}, not of one component"
        ports = [port["targetPort"] for port in spec.get("ports", [])] if kind == "Service" else []
        ports += [port["port"] for rule in spec.get("ingress", []) for port in rule["ports"]]
        for port in ports:
            if not all(pod.port(port) for pod in chosen):
                yield f"{kind} {name}: the pods have no port {port}"
    for monitor in of_kind(objects, "ServiceMonitor"):
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        services = [each for each in of_kind(objects, "Service") if wanted <= each["metadata"]["labels"].items()]
        offered = {port["name"] for service in services for port in service["spec"]["ports"]}
        if len(services) != 1 or not {endpoint["port"] for endpoint in monitor["spec"]["endpoints"]} <= offered:
            yield f"ServiceMonitor {monitor['metadata']['name']} finds no port"
    addresses = {
        f"{each['metadata']['name']}:{port['port']}"
        for each in of_kind(objects, "Service")
        for port in each["spec"]["ports"]
    }
    for pod in pods(objects):
        for address in re.findall(r"--triton=(\S+)", "\n".join(map(str, pod.spec["containers"][0]["args"]))):
            if address not in addresses:
                yield f"{pod.owner} asks {address}, which is no Service"


def _scaling(objects: list[Object]) -> Iterator[str]:
    """Autoscalers of nothing, and Deployments that take back what an autoscaler did."""
    deployments = {each["metadata"]["name"]: each["spec"] for each in of_kind(objects, "Deployment")}
    scaled = set()
    for each in (*of_kind(objects, "HorizontalPodAutoscaler"), *of_kind(objects, "ScaledObject")):
        target = each["spec"]["scaleTargetRef"]["name"]
        scaled.add(target)
        if target not in deployments:
            yield f"{each['kind']} {each['metadata']['name']} scales {target}, which does not exist"
    for name, spec in deployments.items():
        if ("replicas" in spec) == (name in scaled):
            yield f"Deployment {name}: its replicas are set twice or not at all"


def _isolation(objects: list[Object]) -> Iterator[str]:
    """Pods that a NetworkPolicy leaves open, where there are policies at all."""
    policies = of_kind(objects, "NetworkPolicy")
    for pod in pods(objects) if policies else []:
        own = [
            each["spec"]
            for each in policies
            if each["spec"]["podSelector"]["matchLabels"].items() <= pod.labels.items()
        ]
        if not any(set(spec["policyTypes"]) == {"Ingress", "Egress"} for spec in own):
            yield f"{pod.owner} is under no NetworkPolicy"
        rules = [rule for spec in own for rule in spec.get("ingress", [])]
        if pod.labels[_SELECTOR[2]] != "gateway" and not all(rule.get("from") for rule in rules):
            yield f"{pod.owner} is open to everyone"
