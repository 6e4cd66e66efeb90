"""Mistakes in values and in the chart itself are found, so that finding none means something."""

import shutil
from pathlib import Path

import pytest
from support.kubernetes import CHART, problems, render

pytestmark = pytest.mark.deploy


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("triton.replica=2", "'replica' not allowed"),
        ("triton.replicas=two", "want integer"),
        ("device=gpu", "must be one of 'cpu', 'cuda'"),
        ("device=cuda", "limits has no nvidia.com/gpu"),
        ("images.tag=latest", "/images/tag"),
        ("models.embedding.enabled=false", "no model is enabled"),
        ("models.embedding.name=a/b", "/models/embedding/name"),
        ("models.embedding.options[0]=int8", "/models/embedding/options/0"),
        ("models.reranker.enabled=true,models.reranker.name=qwen3_embedding", "are the same"),
        ("autoscaling.kind=keda", "set monitoring.enabled"),
        ("autoscaling.minReplicas=9", "is larger than"),
        ("triton.drainSeconds=0", "/triton/drainSeconds"),
        ("networkPolicy.gatewayFrom[0].pods=a", "'pods' not allowed"),
        ("models.volume.size=20", "/models/volume/size"),
    ],
)
def test_a_mistake_in_the_values_is_named(setting: str, reason: str) -> None:
    with pytest.raises(ValueError, match=r"\S") as refusal:
        render("--set", setting)
    assert reason in str(refusal.value)


@pytest.mark.parametrize(
    ("file", "right", "wrong", "problem"),
    [
        ("triton.yaml", "readinessProbe:", "readinesProbe:", "'readinesProbe' was unexpected"),
        ("gateway.yaml", "replicas: {{ .Values.gateway.replicas }}", 'replicas: "two"', "spec.replicas"),
        ("triton.yaml", "periodSeconds: 10", "periodSeconds: ten", "periodSeconds"),
        ("triton.yaml", "path: /v2/health/live, port: http", "path: /v2/health/live, port: https", "asks no port"),
        ("triton.yaml", ".Values.triton.drainSeconds 15", "4", "killed before accepted requests are finished"),
        (
            "triton.yaml",
            "sleep: {seconds: {{ .Values.triton.preStopSeconds }}}",
            "sleep: {seconds: 0}",
            "before its clients",
        ),
        ("triton.yaml", "targetPort: grpc", "targetPort: rpc", "no port rpc"),
        ("triton.yaml", "- {name: tmp, mountPath: /tmp}", "- {name: temp, mountPath: /tmp}", "and its mounts"),
        ("triton.yaml", ", subPath: models, readOnly: true", "", "only an export may write"),
        ("triton.yaml", 'eq .Values.autoscaling.kind "none"', "true", "set twice"),
        ("gateway.yaml", "-triton:8001", "-server:8001", "is no Service"),
        ("models.yaml", 'name: {{ include "qwen3.name" . }}-models', "name: models", "nobody makes the claim"),
        ("models.yaml", "restartPolicy: Never", "restartPolicy: Always", "may not restart always"),
        ("policies.yaml", "[{port: 8002}]", "[{port: 8003}]", "no port 8003"),
        ("policies.yaml", 'list "triton" "gateway"', 'list "triton" "gate"', "not of one component"),
        ("policies.yaml", "podSelector:\n    matchLabels:", "podSelectors:\n    matchLabels:", "podSelector"),
        ("monitoring.yaml", '"triton" "metrics"', '"triton" "metric"', "finds no port"),
        ("monitoring.yaml", "interval:", "every:", ".every is unknown"),
        ("autoscaling.yaml", "name: {{ $name }}}", "name: triton}", "does not exist"),
        ("autoscaling.yaml", "maxReplicaCount:", "maxReplicas:", ".maxReplicas is unknown"),
        ("autoscaling.yaml", "minReplicaCount: {{ .minReplicas }}", "minReplicaCount: few", "minReplicaCount"),
        ("_helpers.tpl", "runAsNonRoot: true", "runAsNonRoot: false", "may run as root"),
        ("_helpers.tpl", "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false", "can write to its image"),
        ("_helpers.tpl", "capabilities: {drop: [ALL]}", "capabilities: {drop: []}", "may gain privileges"),
        ("_helpers.tpl", ".Values.images.tag | default .Chart.AppVersion", '"latest"', "is not pinned"),
    ],
)
def test_a_mistake_in_the_chart_is_found(tmp_path: Path, file: str, right: str, wrong: str, problem: str) -> None:
    chart = tmp_path / "qwen3-triton"
    shutil.copytree(CHART, chart)
    template = chart / "templates" / file
    text = template.read_text()
    assert right in text
    template.write_text(text.replace(right, wrong))
    found = problems(render("--values", str(CHART / "values-production.yaml"), chart=chart), version="1.35")
    assert any(problem in each for each in found), found
