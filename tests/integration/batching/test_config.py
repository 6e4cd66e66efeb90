"""How the plugin reads a model's configuration, and what it refuses to load."""

import json
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.batching import Plugin, PluginError, model_config

pytestmark = pytest.mark.compiler

INVALID_ARG = 3


@pytest.mark.parametrize(
    "value", ["", "0", "-1", "+1", "1.5", "1e3", "many", " 16", "0x10", "16\n", "2" * 20, "9" * 99, '"']
)
def test_malformed_token_budgets(plugin: Plugin, value: str) -> None:
    with (
        pytest.raises(PluginError, match="max_batch_tokens must be a whole number of at least 1") as error,
        plugin.batcher(model_config({"max_batch_tokens": value})),
    ):
        pass
    assert error.value.code == INVALID_ARG
    assert plugin.alive == 0


@pytest.mark.parametrize(
    "value", ["", "0.99", "0", "-2", "nan", "inf", "1e999", "1,25", "1.2.3", "one", "0x2", "1" * 40]
)
def test_malformed_padding_limits(plugin: Plugin, value: str) -> None:
    with (
        pytest.raises(PluginError, match="max_slots_per_token must be a number of at least 1") as error,
        plugin.batcher(model_config({"max_batch_tokens": "512", "max_slots_per_token": value})),
    ):
        pass
    assert error.value.code == INVALID_ARG


@pytest.mark.parametrize(
    "config",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"parameters"',
        b'{"parameters":}',
        b"\0",
        b'{"a":[\0]}',
        b'{"a" 1}',
        model_config({}),
        {"max_batch_tokens": {"string_value": "5"}, "dynamic_batching": {}},
        {"parameters": {"max_batch_tokens": "5"}, "dynamic_batching": {}},
        {"parameters": {"default_instruction": {"string_value": '"max_batch_tokens":{"string_value":"5"}'}}},
    ],
)
def test_a_missing_budget_is_named(plugin: Plugin, config: Any) -> None:  # noqa: ANN401
    with (
        pytest.raises(PluginError, match="needs the parameter max_batch_tokens"),
        plugin.batcher(config),
    ):
        pass
    assert plugin.alive == 0


def test_queues_under_which_no_budget_holds(plugin: Plugin) -> None:
    config = model_config({"max_batch_tokens": "5"})
    del config["dynamic_batching"]
    with pytest.raises(PluginError, match="add dynamic_batching"), plugin.batcher(config):
        pass
    for delay in (100, "100"):
        config["dynamic_batching"] = {"max_queue_delay_microseconds": delay}
        with pytest.raises(PluginError, match="remove the delay"), plugin.batcher(config):
            pass
    for queue in (
        {"max_queue_delay_microseconds": 0, "preferred_batch_size": [32]},
        {"max_queue_delay_microseconds": "0", "default_queue_policy": {"max_queue_size": 8}},
    ):
        config["dynamic_batching"] = queue
        with plugin.batcher(config) as batcher:
            assert batcher.batches([(1, 5), (1, 5)]) == [[0], [1]]


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(
    before=st.dictionaries(st.text(), values, max_size=4),
    more=st.dictionaries(st.text(), st.text(), max_size=4),
    indent=st.none() | st.integers(0, 3),
    unicode=st.booleans(),
)
def test_the_budget_is_found_in_any_json(
    plugin: Plugin,
    before: dict[str, Any],
    more: dict[str, str],
    indent: int | None,
    unicode: bool,  # noqa: FBT001
) -> None:
    config = before | model_config(more | {"max_batch_tokens": "7", "max_slots_per_token": "2"})
    text = json.dumps(config, indent=indent, ensure_ascii=not unicode).encode("utf-8", "surrogatepass")
    with plugin.batcher(text) as batcher:
        assert batcher.batches([(1, 4), (1, 3), (1, 1), (1, 7)]) == [[0, 1], [2], [3]]


@given(st.binary(max_size=200) | st.text('{}[]",:\\ a\0', max_size=60).map(str.encode))
def test_no_text_hangs_or_passes(plugin: Plugin, text: bytes) -> None:
    with pytest.raises(PluginError, match="max_batch_tokens"), plugin.batcher(text):
        pass
    assert plugin.alive == 0


@pytest.mark.parametrize(
    "function", ["TRITONBACKEND_ModelConfig", "TRITONSERVER_MessageSerializeToJson", "TRITONSERVER_MessageDelete"]
)
def test_failures_of_triton_are_passed_on(plugin: Plugin, function: str) -> None:
    with (
        plugin.failing(function),
        pytest.raises(PluginError, match=function),
        plugin.batcher(model_config({"max_batch_tokens": "5"})),
    ):
        pass
    assert plugin.alive == 0


def test_the_first_failure_is_told(plugin: Plugin) -> None:
    with (
        plugin.failing("TRITONSERVER_MessageDelete"),
        pytest.raises(PluginError, match="needs the parameter"),
        plugin.batcher(model_config({})),
    ):
        pass
    assert plugin.alive == 0


def test_whole_lives_under_the_address_sanitizer(build: Callable[[Path, Sequence[str]], None], tmp_path: Path) -> None:
    """Every cut of the configuration, every failing call, no memory, every odd request: no wrong access, no leak."""
    program = tmp_path / "lives"
    build(program, ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"])
    config = json.dumps(model_config({"max_batch_tokens": "16", "max_slots_per_token": "1.25"}))
    ended = subprocess.run([str(program), config], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    loaded, alive = map(int, ended.stdout.split())
    assert loaded == 2  # the whole configuration, and where only InputProperties fails
    assert alive == 0


def test_the_makefile_builds_what_triton_looks_for(built: Path) -> None:
    symbols = subprocess.run(
        ["nm", "-D", "--defined-only", str(built)], capture_output=True, text=True, check=True
    ).stdout
    names = {line.split()[-1] for line in symbols.splitlines()}
    assert names == {
        f"TRITONBACKEND_Model{name}"
        for name in ("BatcherInitialize", "BatcherFinalize", "BatchInitialize", "BatchIncludeRequest", "BatchFinalize")
    }
