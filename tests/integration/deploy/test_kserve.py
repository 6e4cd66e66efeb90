"""KServe's files: what they share with Kubernetes is valid, and the runtime is this project's image.

The schemas of KServe's own fields are in no package, so its fields are checked against the names that are used here.
"""

import re
from typing import Any

import pytest
import qwen3_client
import yaml
from support.kubernetes import KUBECTL, ROOT, Object, drain_s, run

pytestmark = pytest.mark.deploy

# Fields of KServe beside those of a pod and of a container.
RUNTIME = {"annotations", "supportedModelFormats", "protocolVersions"}
PREDICTOR = {"minReplicas", "maxReplicas", "model"}
MODEL = {"modelFormat", "runtime", "protocolVersion", "storageUri"}


@pytest.fixture(scope="module")
def objects() -> dict[str, Object]:
    done = run(KUBECTL, "kustomize", ROOT / "deploy" / "kserve")
    assert done.returncode == 0, done.stderr
    return {each["kind"]: each for each in yaml.safe_load_all(done.stdout)}


def pod_of(objects: dict[str, Object]) -> dict[str, Any]:
    """The pod that KServe makes, as far as these files determine it."""
    runtime = objects["ServingRuntime"]["spec"]
    predictor = objects["InferenceService"]["spec"]["predictor"]
    (container,) = runtime["containers"]
    spec = {key: value for key, value in {**runtime, **predictor}.items() if key not in RUNTIME | PREDICTOR}
    own = {key: value for key, value in predictor["model"].items() if key not in MODEL}
    return {**spec, "containers": [{**container, **own}]}


def validate(spec: dict[str, Any]) -> None:
    from kubernetes_validate import validate as validated

    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "predictor"}, "spec": spec}
    for version in ("1.30", "1.37"):
        validated(pod, version, strict=True)


def test_the_pod_is_valid(objects: dict[str, Object]) -> None:
    validate(pod_of(objects))


def test_a_mistake_in_it_is_found(objects: dict[str, Object]) -> None:
    from kubernetes_validate import ValidationError

    with pytest.raises(ValidationError, match="minReplica"):
        validate({**pod_of(objects), "minReplica": 1})


def test_the_service_names_the_runtime_and_its_format_and_protocol(objects: dict[str, Object]) -> None:
    runtime, model = objects["ServingRuntime"], objects["InferenceService"]["spec"]["predictor"]["model"]
    assert model["runtime"] == runtime["metadata"]["name"]
    assert model["modelFormat"]["name"] in {each["name"] for each in runtime["spec"]["supportedModelFormats"]}
    assert model["protocolVersion"] in runtime["spec"]["protocolVersions"]


def test_the_pod_is_confined_and_may_finish_accepted_requests(objects: dict[str, Object]) -> None:
    pod = pod_of(objects)
    (container,) = pod["containers"]
    assert container["image"] == f"qwen3-triton:{qwen3_client.__version__}"
    assert container["securityContext"]["runAsNonRoot"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    before = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] >= before + drain_s(container) + 5


def test_arguments_follow_those_of_the_image(objects: dict[str, Object]) -> None:
    """The image has a program of its own to start, which adds the arguments of the container to its own."""
    (container,) = pod_of(objects)["containers"]
    assert "command" not in container
    script = (ROOT / "docker" / "serve.sh").read_text()
    ports = {
        name: re.findall(rf"^--{name}-port=(\d+)$", "\n".join(container["args"]), re.M) for name in ("http", "grpc")
    }
    assert ports == {"http": ["8080"], "grpc": ["9000"]}
    assert all(f"--{name}-port=" in script for name in ports)
    assert container["readinessProbe"]["httpGet"]["port"] == int(ports["http"][0])
