"""The Helm chart: documented, checked by its schema, and valid objects for every file of values."""

import argparse
import json
import re
from pathlib import Path
from typing import Any

import pytest
import qwen3_client
import yaml
from qwen3_export import cli as export_cli
from qwen3_serve import cli as serve_cli
from qwen3_serve.gateway import cli as gateway_cli
from support.kubernetes import CHART, HELM, component, of_kind, pods, problems, render, run

pytestmark = pytest.mark.deploy

FILES = sorted(CHART.glob("values*.yaml"))
VARIANTS = {
    **{path.stem: ["--values", str(path)] for path in FILES},
    "both models": ["--set", "models.reranker.enabled=true"],
    "a reranker alone": ["--set", "models.embedding.enabled=false,models.reranker.enabled=true"],
    "models that are there": [
        "--set",
        "models.embedding.source=,models.volume.source.nfs.server=nas,models.volume.source.nfs.path=/m",
    ],
    "hpa": ["--set", "autoscaling.kind=hpa"],
    "keda": ["--set", "autoscaling.kind=keda,monitoring.enabled=true"],
    "nothing optional": ["--set", "networkPolicy.enabled=false,podDisruptionBudget.enabled=false"],
    "placement": [
        *("--set", "triton.nodeSelector.pool=cpu,gateway.nodeSelector.pool=web,triton.runtimeClassName=nvidia"),
        *(
            "--set-json",
            'triton.affinity={"podAntiAffinity":{}}',
            "--set-json",
            'gateway.tolerations=[{"operator":"Exists"}]',
        ),
    ],
    "closed": [
        *("--set-json", 'networkPolicy.tritonFrom=[{"podSelector":{"matchLabels":{"app":"indexer"}}}]'),
        *("--set-json", "networkPolicy.metricsFrom=[]"),
    ],
    "a long name": ["--set", "fullnameOverride=" + "a" * 36],
}


@pytest.fixture(params=VARIANTS)
def options(request: pytest.FixtureRequest) -> list[str]:
    """Helm's options for each way to install the chart."""
    return VARIANTS[request.param]


def test_helm_finds_no_fault(options: list[str]) -> None:
    done = run(HELM, "lint", "--strict", CHART, *options)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("version", ["1.30", "1.35", "1.37"])
def test_every_object_is_valid_and_fits_the_others(options: list[str], version: str) -> None:
    objects = render("--kube-version", version, *options)
    assert len(pods(objects)) >= 2
    assert problems(objects, version=version) == []


def test_older_clusters_are_refused() -> None:
    with pytest.raises(ValueError, match="incompatible with Kubernetes"):
        render("--kube-version", "1.29")


def test_the_examples_use_all_that_the_chart_has() -> None:
    kinds = {each["kind"] for path in FILES for each in render("--values", str(path))}
    hpa = {"HorizontalPodAutoscaler"}  # another way to do what a ScaledObject does
    written = set(re.findall(r"^kind: (\w+)", "\n".join(p.read_text() for p in CHART.glob("templates/*.yaml")), re.M))
    assert kinds == written - hpa


def settings(values: dict[str, Any], path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The paths of all settings, such as ("triton", "replicas"); what is inside one is Kubernetes' own."""
    found = []
    for key, value in values.items():
        at = (*path, key)
        is_group = (
            isinstance(value, dict)
            and value
            and key not in ("requests", "limits")
            and not key.lower().endswith("resources")
        )
        found += settings(value, at) if is_group else [at]
    return found


def test_every_setting_is_documented() -> None:
    lines = (CHART / "values.yaml").read_text().splitlines()
    for path in settings(yaml.safe_load("\n".join(lines))):
        pattern = rf"{'  ' * (len(path) - 1)}{path[-1]}:.*"
        before = [lines[index - 1] for index, line in enumerate(lines) if re.fullmatch(pattern, line)]
        assert before, path
        assert all(line.lstrip().startswith("# ") for line in before), path


def test_the_schema_has_the_settings_and_no_others() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())

    def paths(node: dict[str, Any], at: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
        node = schema["definitions"][node["$ref"].rpartition("/")[2]] if "$ref" in node else node
        if (
            node.get("type") != "object"
            or "properties" not in node
            or (at[-1:] and at[-1].lower().endswith("resources"))
        ):
            return {at}
        assert node["additionalProperties"] is False, at
        return set().union(*(paths(value, (*at, key)) for key, value in node["properties"].items()))

    assert paths(schema) - {("global",)} == set(settings(yaml.safe_load((CHART / "values.yaml").read_text())))


def test_the_chart_is_the_project_s_release() -> None:
    about = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert about["version"] == about["appVersion"] == qwen3_client.__version__


def parsed(cli: Any, arguments: list[str]) -> argparse.Namespace:  # noqa: ANN401 - a module
    parser = argparse.ArgumentParser(exit_on_error=False)
    cli.add_arguments(parser)
    return parser.parse_args(arguments)


def test_the_commands_know_their_options(options: list[str]) -> None:
    objects = render(*options)
    command, *arguments = component(objects, "Deployment", "gateway")["spec"]["template"]["spec"]["containers"][0][
        "args"
    ]
    assert command == "gateway"
    gateway = parsed(gateway_cli, arguments)
    gateway_cli.check(gateway) if gateway.api_key_file is None else None
    folders = {gateway.tokenizer, gateway.reranker_tokenizer} - {None}
    assert folders == {f"/models/{name}" for name in (gateway.model, gateway.reranker) if name}
    for job in of_kind(objects, "Job"):
        _, zeroth, marker, *arguments = job["spec"]["template"]["spec"]["containers"][0]["args"]
        export = parsed(export_cli, arguments)
        assert zeroth == "export"
        assert f"{export.repository}/{export.name}" in folders
        assert Path(marker).parent == Path("/exports")
    triton = component(objects, "Deployment", "triton")["spec"]["template"]["spec"]["containers"][0]
    if "cpu" in triton["image"]:
        command, *arguments = triton["args"]
        limit = triton["resources"]["limits"]["cpu"]
        assert command == "serve"
        assert parsed(serve_cli, [each.replace("$(CPU_LIMIT)", limit) for each in arguments]).threads == int(limit)
    else:
        assert triton["resources"]["limits"]["nvidia.com/gpu"] == 1


def job_name(*settings: str) -> str:
    (job,) = of_kind(render(*(word for each in settings for word in ("--set", each))), "Job")
    name: str = job["metadata"]["name"]
    return name


def marker(*settings: str) -> str:
    (job,) = of_kind(render(*(word for each in settings for word in ("--set", each))), "Job")
    path: str = job["spec"]["template"]["spec"]["containers"][0]["args"][2]
    return path


def test_an_upgrade_changes_no_job_and_exports_again_only_what_changed() -> None:
    """Kubernetes refuses to change the pods of a Job, so that other pods must be a Job of another name."""
    assert job_name() == job_name("gateway.replicas=5")
    assert job_name() != job_name("images.tag=0.2.0")
    assert marker() == marker("images.tag=0.2.0")
    assert marker() != marker("models.embedding.options[0]=--precision=fp32")
    assert marker() != marker("device=cuda", "triton.resources.limits.nvidia\\.com/gpu=1")


def test_pods_are_replaced_when_their_models_change() -> None:
    def templates(*options: str) -> list[Any]:
        return [each["spec"]["template"] for each in of_kind(render(*options), "Deployment")]

    before = templates()
    after = templates("--set", "models.embedding.source=Qwen/Qwen3-Embedding-4B")
    assert len(before) == 2
    assert all(old != new for old, new in zip(before, after, strict=True))
