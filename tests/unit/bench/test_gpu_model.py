"""The model of a GPU's time, by what must hold whatever its assumptions are."""

import pytest
from qwen3_export.checkpoint.geometry import Geometry
from qwen3_export.checkpoint.random_checkpoint import published_config
from qwen3_export.target import Target, choose_target

from bench.gpu import model as gpu_model


def target(release: str) -> Target:
    return choose_target(device="cuda", precision="bf16", ort_version=release)


@pytest.mark.parametrize("size", gpu_model.SIZES)
@pytest.mark.parametrize("release", gpu_model.RELEASES)
def test_products_multiply_by_every_weight_once(size: str, release: str) -> None:
    g = Geometry.from_config(published_config(size))
    kernels = gpu_model.layer_kernels(g, target(release), 1000, 1000)
    flops = sum(kernel.flops for kernel in kernels if kernel.name != "attention")
    weights = g.hidden * g.head_dim * 2 * (g.heads + g.kv_heads) + 3 * g.hidden * g.intermediate
    assert flops == 2 * 1000 * weights


def test_a_newer_release_is_faster_and_no_batch_beats_the_peak() -> None:
    for size in gpu_model.SIZES:
        g = Geometry.from_config(published_config(size))
        for gpu in (gpu_model.H100, gpu_model.L4):
            for rows in (16, 16_384):
                older, newer = (
                    gpu_model.batch_seconds(g, target(release), gpu, rows=rows, longest=16)
                    for release in gpu_model.RELEASES
                )
                assert newer < older
                assert gpu_model.utilisation(g, gpu, rows=rows, seconds=newer) < gpu.product_share


def test_a_prefix_that_is_not_computed_again_saves_at_most_its_share_and_a_half_residual_saves_bytes() -> None:
    g = Geometry.from_config(published_config("0.6B"))

    def seconds(rows: int, longest: int, *, past: int = 0, half_residual: bool = False) -> float:
        return gpu_model.batch_seconds(
            g, target("1.31"), gpu_model.H100, rows=rows, longest=longest, past=past, half_residual=half_residual
        )

    whole, without = seconds(64 * 256, 256), seconds(64 * 128, 128, past=128)
    assert seconds(64 * 128, 128) < without < whole
    assert seconds(64 * 256, 256, half_residual=True) < whole


def test_cuda_graphs_save_launches_and_no_bytes() -> None:
    for size in gpu_model.SIZES:
        g = Geometry.from_config(published_config(size))
        seconds = gpu_model.batch_seconds(g, target("1.31"), gpu_model.H100, rows=16, longest=16)
        weights = 2 * (g.parameters - g.vocabulary * g.hidden) / gpu_model.H100.bytes_per_s
        assert weights < gpu_model.replayed_seconds(g, target("1.31"), gpu_model.H100, rows=16) < seconds


@pytest.mark.parametrize("stored", [gpu_model.IN_INT8, gpu_model.IN_FP8])
def test_quantized_weights_save_bytes_only_where_a_kernel_reads_them(stored: gpu_model.Stored) -> None:
    g = Geometry.from_config(published_config("8B"))

    def moved(rows: int, stored: gpu_model.Stored) -> float:
        return sum(kernel.bytes for kernel in gpu_model.layer_kernels(g, target("1.31"), rows, rows, stored=stored))

    few = int(stored.direct_rows)
    assert moved(few, stored) < 0.6 * moved(few, gpu_model.IN_HALF)
    assert moved(few + 1, stored) > 2 * moved(few + 1, gpu_model.IN_HALF)


@pytest.mark.parametrize("size", gpu_model.SIZES)
def test_a_run_of_one_pair_before_the_others_pays_for_many_pairs_only(size: str) -> None:
    g = Geometry.from_config(published_config(size))

    def saves(pairs: int) -> bool:
        without, shared = (
            gpu_model.pairs_seconds(g, target("1.31"), gpu_model.H100, pairs=pairs, document=32, shares=shares)
            for shares in (False, True)
        )
        return shared < without

    assert saves(64)
    assert not saves(2)


def test_gpus_are_found_by_the_names_that_cuda_gives() -> None:
    found = [gpu_model.gpu_named(name) for name in ("NVIDIA H100 80GB HBM3", "NVIDIA H200", "NVIDIA L4", "NVIDIA L40S")]
    assert found == [gpu_model.H100, gpu_model.H200, gpu_model.L4, None]


def test_the_report_says_that_nothing_was_measured() -> None:
    report = gpu_model.report()
    assert "None was measured" in report
    assert report.count("\n| H100") == report.count("\n| L4") == len(gpu_model.SIZES) * len(gpu_model.RELEASES)
    table = gpu_model.layer_table("0.6B", "1.31", gpu_model.H100, rows=16_384)
    assert table.count("\n") == 3 + 18
