"""`qwen3-triton build-engine` as far as it goes without a GPU: profiles, refusals, and what it writes at the end."""

import argparse
import importlib.util
import json
from pathlib import Path

import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st
from qwen3_export import ExportError, export
from qwen3_export.tensorrt.cli import add_arguments, run
from qwen3_export.tensorrt.plan import check_plan_model, find_padding_front, install_plan
from qwen3_export.tensorrt.profiles import Limits, profiles
from qwen3_export.verify.errors import VerifyError
from qwen3_export.verify.model_directory import read_model
from qwen3_serve.triton.integrity import check_integrity
from tritonclient.grpc.model_config_pb2 import ModelConfig

pytestmark = pytest.mark.tensorrt

WITHOUT_TENSORRT = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt") is not None, reason="tensorrt is installed: build-engine would go further"
)


@pytest.fixture
def plan_model(tmp_path: Path) -> Path:
    padding_front = export("tiny", repository=tmp_path, device="tensorrt", precision="fp32").directory
    return padding_front.with_name("qwen3_embedding_trt")


def build(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return run(parser.parse_args(arguments))


# --- profiles -------------------------------------------------------------------------------------------------


def test_the_default_profiles() -> None:
    assert [(profile.best, profile.most) for profile in profiles(Limits())] == [
        ((1, 32), (1, 512)),
        ((32, 512), (32, 1820)),
        ((8, 2048), (8, 5461)),
        ((2, 8192), (2, 8192)),
    ]


@given(st.integers(1, 64), st.integers(1, 40_000), st.integers(64, 100_000), st.data())
def test_every_batch_within_the_limits_lies_in_a_profile(
    max_batch: int, max_tokens: int, max_slots: int, data: st.DataObject
) -> None:
    limits = Limits(max_batch, max_tokens, max_slots)
    found = profiles(limits)
    assert len(found) <= 5
    for profile in found:
        for best, most in zip(profile.best, profile.most, strict=True):
            assert 1 <= best <= most
        assert profile.most[0] <= max_batch
        assert profile.most[1] <= max_tokens
    texts = data.draw(st.integers(1, max_batch))
    width = data.draw(st.integers(1, max_tokens if texts == 1 else max(1, min(max_tokens, max_slots // texts))))
    assert any(texts <= profile.most[0] and width <= profile.most[1] for profile in found), (texts, width)


def test_no_profile_reserves_the_corner_that_no_batch_reaches() -> None:
    squares = [texts * width**2 for profile in profiles(Limits()) for texts, width in [profile.most]]
    assert max(squares) < 32 * 8192**2 / 8, "attention's mask and scores grow with texts x width squared"


@pytest.mark.parametrize(
    ("limits", "message"),
    [((0, 8, 8), "at least one text"), ((4, 0, 8), "of one token"), ((32, 8, 31), "raise --max-slots")],
)
def test_limits_that_hold_no_batch_are_refused(limits: tuple[int, int, int], message: str) -> None:
    with pytest.raises(ExportError, match=message):
        Limits(*limits)


# --- refusals -------------------------------------------------------------------------------------------------


@WITHOUT_TENSORRT
def test_without_tensorrt_it_says_where_to_run(plan_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(plan_model.rglob("*"))
    config = (plan_model / "config.pbtxt").read_bytes()
    assert build(str(plan_model)) == 1
    said = capsys.readouterr().err
    assert "the Python package `tensorrt` is not installed" in said
    assert "nvcr.io/nvidia/tensorrt" in said
    assert f"qwen3-triton build-engine {plan_model}" in said
    assert sorted(plan_model.rglob("*")) == before
    assert (plan_model / "config.pbtxt").read_bytes() == config


def test_the_padding_front_is_not_taken_for_the_plans_model(
    plan_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build(str(plan_model.with_name("qwen3_embedding"))) == 1
    assert "whose name ends in _trt" in capsys.readouterr().err
    assert build(str(plan_model.with_name("nowhere"))) == 1
    assert "--device tensorrt" in capsys.readouterr().err


def test_a_packed_model_is_refused(tmp_path: Path) -> None:
    packed = export("tiny", repository=tmp_path).directory
    with pytest.raises(ExportError, match="is not the model that TensorRT runs"):
        check_plan_model(packed, Limits())


def test_more_texts_than_the_configuration_allows_are_refused(plan_model: Path) -> None:
    with pytest.raises(ExportError, match="--max-batch 32"):
        check_plan_model(plan_model, Limits(max_batch=33))


def test_a_plan_without_a_padding_front_is_refused(plan_model: Path) -> None:
    assert find_padding_front(plan_model) == plan_model.with_name("qwen3_embedding")
    (plan_model.with_name("qwen3_embedding") / "config.pbtxt").unlink()
    with pytest.raises(ExportError, match="no model beside"):
        find_padding_front(plan_model)


# --- what it leaves -------------------------------------------------------------------------------------------


def test_a_plan_is_installed_with_its_limits(plan_model: Path) -> None:
    padding_front = find_padding_front(plan_model)
    comments = (padding_front / "config.pbtxt").read_text().partition("# ---- Below")[0]
    limits = Limits(max_batch=16, max_tokens=1024, max_slots=4096)
    install_plan(plan_model, padding_front, b"made elsewhere", profiles=len(profiles(limits)), limits=limits)

    assert (plan_model / "1" / "model.plan").read_bytes() == b"made elsewhere"
    (group,) = _parsed(plan_model / "config.pbtxt").instance_group
    assert list(group.profile) == ["0", "1", "2", "3"]
    facts = {key: value.string_value for key, value in _parsed(padding_front / "config.pbtxt").parameters.items()}
    assert (facts["max_batch_texts"], facts["max_batch_slots"], facts["max_tokens"]) == ("16", "4096", "1024")
    assert facts["plan_model"] == plan_model.name
    assert (padding_front / "config.pbtxt").read_text().partition("# ---- Below")[0] == comments
    for model in (plan_model, padding_front):
        check_integrity(model, "full")
        assert not list(model.rglob(".*"))
    assert "1/model.plan" in json.loads((plan_model / "manifest.json").read_text())["files"]


def test_verify_says_that_it_does_not_know_this_lane(plan_model: Path) -> None:
    for model in (plan_model, find_padding_front(plan_model)):
        with pytest.raises(VerifyError, match="was exported for TensorRT"):
            read_model(model)


def test_a_plan_never_promises_more_than_the_model(plan_model: Path) -> None:
    padding_front = find_padding_front(plan_model)
    install_plan(plan_model, padding_front, b"", profiles=4, limits=Limits())
    assert _parsed(padding_front / "config.pbtxt").parameters["max_tokens"].string_value == "2048"


def _parsed(path: Path) -> ModelConfig:
    return text_format.Parse(path.read_text(), ModelConfig())
