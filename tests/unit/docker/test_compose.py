"""compose.yaml: valid, closed to other machines, and true to what it names."""

import argparse
import inspect
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import qwen3_client
import yaml
from qwen3_export import cli as export_cli
from qwen3_serve import Triton
from qwen3_serve.gateway import cli
from support.container import DOCKER, ROOT, final_stage

FILE = DOCKER / "compose.yaml"
COMPOSE: dict[str, Any] = yaml.safe_load(FILE.read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


@pytest.fixture(params=SERVICES)
def service(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Each service in turn."""
    return SERVICES[request.param]


def profile(name: str) -> dict[str, dict[str, Any]]:
    return {service: about for service, about in SERVICES.items() if name in about["profiles"]}


def test_it_is_valid_by_the_compose_specification() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", FILE],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_every_image_is_pinned_and_those_built_here_bear_the_project_s_version(service: dict[str, Any]) -> None:
    name, _, tag = service["image"].partition(":")
    assert re.fullmatch(r"v?\d+\.\d+\.\d+", tag)
    assert ("build" in service) == name.startswith("qwen3-triton")
    if "build" in service:
        context = DOCKER / service["build"]["context"]
        assert context.resolve() == ROOT
        assert (context / service["build"]["dockerfile"]).is_file()
        assert tag == qwen3_client.__version__


def test_ports_are_open_to_this_machine_alone(service: dict[str, Any]) -> None:
    for port in service.get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:(\d+):\1", port)


def test_every_service_is_confined(service: dict[str, Any]) -> None:
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not service.get("privileged")
    assert any(mount.split(":")[0] == "/tmp" for mount in service.get("tmpfs", [])) == ("prom/" not in service["image"])


def test_what_is_mounted_exists_and_no_server_can_write_to_files_of_the_project(service: dict[str, Any]) -> None:
    for mount in service["volumes"]:
        source, target, *options = mount.split(":")
        assert target.startswith("/")
        if source.startswith("."):
            assert (DOCKER / source).exists()
            assert options == ["ro"]
        else:
            assert source in COMPOSE["volumes"]
        if source == "models":
            assert (options == ["ro"]) == (service is not SERVICES["export"])


def test_servers_start_again_and_say_whether_they_are_well(service: dict[str, Any]) -> None:
    if service is SERVICES["export"]:
        assert service["restart"] == "no"
        return
    assert service["restart"] == "unless-stopped"
    has_own_check = "healthcheck" in service
    assert has_own_check or "HEALTHCHECK" in {
        each.name for each in final_stage(Path(service["build"]["dockerfile"]).name)
    }


def test_a_profile_is_one_triton_and_all_that_goes_with_it() -> None:
    others = {"gateway", "prometheus", "grafana"}
    assert set(profile("gpu")) == {"triton", *others}
    assert set(profile("cpu")) == {"triton-cpu", *others}
    assert set(profile("export")) == {"export"}
    assert "triton" in SERVICES["triton-cpu"]["networks"]["default"]["aliases"]
    assert "deploy" not in SERVICES["triton-cpu"]


@pytest.mark.parametrize("name", ["gpu", "cpu"])
def test_a_profile_s_ports_do_not_collide(name: str) -> None:
    ports = [port for about in profile(name).values() for port in about["ports"]]
    assert len(ports) == len(set(ports)) == 6


@pytest.mark.parametrize("name", ["gpu", "cpu"])
def test_what_must_be_there_first_is_in_the_same_profile(name: str) -> None:
    services = profile(name)
    for about in services.values():
        for other, condition in about.get("depends_on", {}).items():
            assert condition["condition"] == "service_healthy"
            assert other in services or condition["required"] is False


def test_the_gateway_s_command_is_one_and_reads_what_is_mounted() -> None:
    command, *arguments = SERVICES["gateway"]["command"]
    assert command == "gateway"
    parser = argparse.ArgumentParser(exit_on_error=False)
    cli.add_arguments(parser)
    read = parser.parse_args(arguments)
    assert (read.host, read.port, read.triton) == ("0.0.0.0", 8080, "triton:8001")  # noqa: S104
    assert read.tokenizer == "/models/qwen3_embedding"
    assert "models:/models:ro" in SERVICES["gateway"]["volumes"]


def test_the_export_writes_to_the_volume_that_triton_reads() -> None:
    job = SERVICES["export"]
    program, command, *arguments = job["entrypoint"]
    assert (program, command) == ("qwen3-triton", "export")
    parser = argparse.ArgumentParser(exit_on_error=False)
    export_cli.add_arguments(parser)
    repository = parser.parse_args([*arguments, "tiny"]).repository
    assert f"models:{repository}" in job["volumes"]
    for name in ("triton", "triton-cpu"):
        assert f"models:{repository}:ro" in SERVICES[name]["volumes"]


def test_stopping_waits_for_what_was_accepted(tmp_path: Path) -> None:
    """Docker kills after the grace period: it must be longer than the time that draining may take."""
    parser = argparse.ArgumentParser()
    cli.add_arguments(parser)
    embedded_s = inspect.signature(Triton).parameters["drain_timeout_s"].default
    drains = {
        "triton": triton_drain_s(tmp_path),
        "gateway": parser.parse_args([]).drain_timeout,
        "triton-cpu": embedded_s,
    }
    for name, seconds in drains.items():
        assert int(SERVICES[name]["stop_grace_period"].removesuffix("s")) > seconds


def triton_drain_s(folder: Path) -> int:
    """How long serve.sh lets Triton drain, from the arguments that it starts Triton with."""
    program = folder / "tritonserver"
    program.write_text('#!/bin/sh\necho "$@"\n')
    program.chmod(0o755)
    done = subprocess.run(
        [DOCKER / "serve.sh"],
        env={"PATH": f"{folder}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    parser = argparse.ArgumentParser()
    parser.add_argument("--exit-timeout-secs", type=int, required=True)
    drain_s: int = parser.parse_known_args(shlex.split(done.stdout))[0].exit_timeout_secs
    return drain_s
