"""Prometheus' configuration and Grafana's dashboard, against what a real Triton and a real gateway say."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

DOCKER = Path(__file__).parents[3] / "docker"
DASHBOARD: dict[str, Any] = json.loads((DOCKER / "grafana/dashboards/qwen3.json").read_text())
SERVICES: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]
PROMETHEUS: dict[str, Any] = yaml.safe_load((DOCKER / "prometheus.yml").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]

# Triton has these where there is a GPU, and only there.
GPU_METRICS = {
    "nv_gpu_memory_total_bytes",
    "nv_gpu_memory_used_bytes",
    "nv_gpu_power_usage",
    "nv_gpu_utilization",
}


def provisioned(path: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DOCKER / "grafana/provisioning" / path).read_text())
    return found


def expressions() -> list[str]:
    return [target["expr"] for panel in PANELS for target in panel["targets"]]


def metrics_of(expression: str) -> set[str]:
    return set(re.findall(r"\b(?:nv|qwen3_gateway)_\w+", expression))


def samples(text: str) -> dict[str, set[str]]:
    """Each metric with its labels, named as in the text: the library's parser renames counters, Prometheus does not."""
    found: dict[str, set[str]] = {}
    for name, labels in re.findall(r"^(\w+)(?:\{(.*)\})? ", text, flags=re.MULTILINE):
        found.setdefault(name, set()).update(re.findall(r'(\w+)="', labels))
    return found


@pytest.fixture(scope="module")
def exposed(metrics: dict[str, str]) -> dict[str, set[str]]:
    """Every metric that Prometheus would find, with its labels."""
    return {name: labels for text in metrics.values() for name, labels in samples(text).items()}


def test_every_metric_of_the_dashboard_exists(exposed: dict[str, set[str]]) -> None:
    shown = set().union(*map(metrics_of, expressions()))
    assert shown - set(exposed) == GPU_METRICS
    (variable,) = DASHBOARD["templating"]["list"]
    assert metrics_of(variable["query"]["query"]) <= set(exposed)


def test_every_label_of_the_dashboard_exists(exposed: dict[str, set[str]]) -> None:
    for expression in expressions():
        if metrics_of(expression) <= GPU_METRICS:
            continue
        known = set().union(*(exposed.get(name, set()) for name in metrics_of(expression)))
        grouped = re.findall(r"by \(([\w, ]+)\)", expression)
        selected = re.findall(r"(\w+)[!=]~?\"", expression)
        for label in {*selected, *(label for group in grouped for label in group.split(", "))}:
            assert label in known, expression


def test_panels_neither_overlap_nor_share_a_number() -> None:
    cells: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        cell = panel["gridPos"]
        covered = {
            (x, y) for x in range(cell["x"], cell["x"] + cell["w"]) for y in range(cell["y"], cell["y"] + cell["h"])
        }
        assert max(x for x, _ in covered) < 24
        assert not covered & cells
        cells |= covered
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))


def test_every_panel_asks_the_provisioned_source() -> None:
    (source,) = provisioned("datasources/prometheus.yaml")["datasources"]
    wanted = {"type": source["type"], "uid": source["uid"]}
    for panel in PANELS:
        assert panel["datasource"] == wanted
        assert all(target["datasource"] == wanted for target in panel["targets"])
    host, port = re.fullmatch(r"http://([\w-]+):(\d+)", source["url"]).groups()  # type: ignore[union-attr]
    assert f"127.0.0.1:{port}:{port}" in SERVICES[host]["ports"]
    assert source["jsonData"]["timeInterval"].startswith(PROMETHEUS["global"]["scrape_interval"])


def test_the_dashboard_lies_where_grafana_looks_for_it() -> None:
    (provider,) = provisioned("dashboards/files.yaml")["providers"]
    folder = provider["options"]["path"]
    grafana = SERVICES["grafana"]
    assert f"./grafana/dashboards:{folder}:ro" in grafana["volumes"]
    home = Path(grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert home.parent == Path(folder)
    assert (DOCKER / "grafana/dashboards" / home.name).is_file()


def test_prometheus_asks_services_on_ports_that_they_have(metrics: dict[str, str]) -> None:
    jobs = {job["job_name"]: job for job in PROMETHEUS["scrape_configs"]}
    assert set(jobs) == set(metrics)
    for job in jobs.values():
        ((target,),) = [config["targets"] for config in job["static_configs"]]
        host, port = target.split(":")
        assert f"127.0.0.1:{port}:{port}" in SERVICES[host]["ports"]


def test_what_prometheus_drops_exists_and_is_not_shown(exposed: dict[str, set[str]]) -> None:
    rules = [rule for job in PROMETHEUS["scrape_configs"] for rule in job.get("metric_relabel_configs", [])]
    assert rules
    for rule in rules:
        assert (rule["source_labels"], rule["action"]) == (["__name__"], "drop")
        dropped = {name for name in exposed if re.fullmatch(rule["regex"], name)}
        assert dropped
        assert not dropped & set().union(*map(metrics_of, expressions()))
