"""Kinds of kernels: names as CUDA's tools print them, and the model's."""

import pytest
from qwen3_export.checkpoint.geometry import Geometry
from qwen3_export.checkpoint.random_checkpoint import published_config
from qwen3_export.target import choose_target

from bench.gpu.kernels import OTHER, kind_of, modelled_kinds
from bench.gpu.model import layer_kernels


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("nvjet_tst_128x256_64x4_2x1_v_bz_coopB_TNT", "products"),
        ("void cutlass::Kernel2<cutlass_80_tensorop_bf16_s16816gemm_relu_bf16_128x256_32x3_tn_align8>", "products"),
        ("sm90_xmma_gemm_bf16bf16_bf16f32_f32_tn_n_tilesize128x128x64_cublas", "products"),
        ("void cublasLt::splitKreduce_kernel<32, 16, int, float, __nv_bfloat16>", "products"),
        ("void flash_fwd_splitkv_kernel<Flash_fwd_kernel_traits<128, 64, cutlass::bfloat16_t>>", "attention"),
        ("void onnxruntime::contrib::cuda::QkNormRotaryTNH<onnxruntime::BFloat16>", "rotary"),
        ("void _UnaryElementWise<float, BFloat16, onnxruntime::cuda::OP_Cast<float, BFloat16>, 256, 4>", "conversions"),
        ("void _UnaryElementWise<float, float, onnxruntime::contrib::cuda::OP_QuickGelu<float>, 256, 4>", "SiLU"),
        ("void onnxruntime::contrib::cuda::SkipLayerNormKernelSmall<float, 128u, 8, true>", "norms"),
        ("Memcpy HtoD (Pageable -> Device)", OTHER),
    ],
)
def test_a_kernels_kind_is_told_by_its_name(name: str, kind: str) -> None:
    assert kind_of(name) == kind


@pytest.mark.parametrize("release", ["1.27", "1.31"])
def test_products_of_the_model_are_what_has_operations_beside_attention(release: str) -> None:
    target = choose_target(device="cuda", precision="bf16", ort_version=release)
    kinds = modelled_kinds(layer_kernels(Geometry.from_config(published_config("0.6B")), target, 1000, 1000))
    computing = {kind for kind, kernels in kinds.items() if any(kernel.flops for kernel in kernels)}
    assert computing == {"attention", "products"}
    assert all(kernel.flops for kernel in kinds["products"])
