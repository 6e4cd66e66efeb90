"""Every key of a config.json that export knows: the keys that it uses, and those that change no vector and no score.

Whatever else config.json holds is refused, because it may change what the model computes. docs/checkpoints.md shows the
same lists to users. Knows nothing about the values of the keys that are used; `geometry` reads them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import ExportError

# The keys that are used, each with what its value must be: a name of `FORMS`.
_USED: Mapping[str, str] = {
    "architectures": "a list of names",
    "attention_bias": "true or false",
    "head_dim": "a positive whole number",
    "hidden_act": "a name",
    "hidden_size": "a positive whole number",
    "intermediate_size": "a positive whole number",
    "is_causal": "true or false",
    "is_matryoshka": "true or false",
    "layer_types": "a list of names",
    "matryoshka_dimensions": "a list of positive whole numbers",
    "max_position_embeddings": "a positive whole number",
    "max_window_layers": "a whole number",
    "model_type": "a name",
    "num_attention_heads": "a positive whole number",
    "num_hidden_layers": "a positive whole number",
    "num_key_value_heads": "a positive whole number",
    "rms_norm_eps": "a positive number",
    "rope_parameters": "an object",
    "rope_scaling": "an object",
    "rope_theta": "a positive number",
    "sliding_window": "a positive whole number",
    "tie_word_embeddings": "true or false",
    "use_bidirectional_attention": "true or false",
    "use_sliding_window": "true or false",
    "vocab_size": "a positive whole number",
}
USED = frozenset(_USED)

# Python's bool is an int, but JSON's true is no number.
FORMS: Mapping[str, Callable[[object], bool]] = {
    "a list of names": lambda value: isinstance(value, list) and all(isinstance(name, str) for name in value),
    "a list of positive whole numbers": lambda value: (
        isinstance(value, list) and all(type(number) is int and number > 0 for number in value)
    ),
    "a name": lambda value: isinstance(value, str),
    "a positive number": lambda value: type(value) in (int, float) and 0 < value <= sys.float_info.max,  # type: ignore[operator]
    "a positive whole number": lambda value: type(value) is int and value > 0,
    "a whole number": lambda value: type(value) is int and value >= 0,
    "an object": lambda value: isinstance(value, Mapping),
    "true or false": lambda value: isinstance(value, bool),
}

# Of a sequence classifier, which only a reranker can be.
OF_CLASSIFIERS = frozenset(
    {
        "classifier_from_token",
        "id2label",
        "is_original_qwen3_reranker",
        "label2id",
        "num_labels",
        "problem_type",
        "sbert_ce_default_activation_function",
        "sentence_transformers",
    }
)

IRRELEVANT: Mapping[str, frozenset[str]] = {
    "training alone": frozenset(
        {
            "attention_dropout",
            "classifier_dropout",
            "gradient_checkpointing",
            "initializer_range",
            "output_router_logits",
            "summary_first_dropout",
        }
    ),
    "generating text": frozenset(
        {
            "bad_words_ids",
            "begin_suppress_tokens",
            "bos_token_id",
            "decoder_start_token_id",
            "diversity_penalty",
            "do_sample",
            "early_stopping",
            "encoder_no_repeat_ngram_size",
            "eos_token_id",
            "exponential_decay_length_penalty",
            "forced_bos_token_id",
            "forced_eos_token_id",
            "length_penalty",
            "max_length",
            "min_length",
            "no_repeat_ngram_size",
            "num_beam_groups",
            "num_beams",
            "num_return_sequences",
            "output_scores",
            "pad_token_id",
            "prefix",
            "remove_invalid_values",
            "repetition_penalty",
            "return_dict_in_generate",
            "sep_token_id",
            "suppress_tokens",
            "temperature",
            "tokenizer_class",
            "top_k",
            "top_p",
            "typical_p",
            "use_cache",
        }
    ),
    "what transformers returns, and how it computes it": frozenset(
        {
            "_attn_implementation",
            "_attn_implementation_autoset",
            "attn_implementation",
            "chunk_size_feed_forward",
            "is_decoder",
            "output_attentions",
            "output_hidden_states",
            "return_dict",
            "tie_last_hidden_states",
            "torchscript",
            "use_bfloat16",
            "use_flash_attn",
        }
    ),
    "the type of the weights, which their file states": frozenset({"dtype", "torch_dtype"}),
    "where the checkpoint comes from": frozenset(
        {
            "_commit_hash",
            "_name_or_path",
            "finetuning_task",
            "model_name",
            "name_or_path",
            "task_specific_params",
            "transformers.js_config",
            "transformers_version",
            "unsloth_fixed",
            "unsloth_version",
        }
    ),
}

# Keys of which one value is the plain model, and every other one a refusal.
_PLAIN: Mapping[str, object] = {
    "add_cross_attention": False,
    "cross_attention_hidden_size": None,
    "is_encoder_decoder": False,
    "mlp_bias": False,
    "per_layer_config": {},
    "pruned_heads": {},
    "tie_encoder_decoder": False,
}

_MODEL_TYPES = {
    "qwen2": "is of the older family Qwen2",
    "qwen3_moe": "is a mixture of experts",
    "qwen3_vl": "reads images too",
    "qwen3_vl_text": "is the text half of a model that reads images too",
    "qwen3_vl_moe": "is a mixture of experts that reads images too",
}
_ARCHITECTURES = ("Qwen3ForCausalLM", "Qwen3Model", "Qwen3ForSequenceClassification")
_QUANTIZERS = {"gptq": "GPTQ", "awq": "AWQ", "fp8": "FP8", "fbgemm_fp8": "FP8", "bitsandbytes": "bitsandbytes"}


def check_keys(config: Mapping[str, Any]) -> None:
    """Make sure that config.json describes a plain Qwen3 decoder, and holds nothing that is not understood.

    Raises:
        ExportError: It does not; the message names the key, and says what to use instead.
    """
    _check_family(config)
    _check_forms(config)
    _check_quantization(config.get("quantization_config"))
    if config.get("auto_map"):
        raise ExportError(
            "config.json names Python code of its own in auto_map, which export does not run; use a folder that "
            "transformers loads without trust_remote_code"
        )
    expected = {"hidden_act": "silu", "attention_bias": False, **_PLAIN}
    for key, plain in expected.items():
        if config.get(key) not in (None, plain):
            raise ExportError(
                f"config.json has {key} = {config[key]!r}, which export does not support; use a model where it is "
                f"{plain!r}"
            )
    known = USED.union(OF_CLASSIFIERS, expected, *IRRELEVANT.values(), {"quantization_config", "auto_map"})
    for key, value in config.items():
        if key not in known and value is not None:
            raise ExportError(
                f"config.json has {key} = {value!r}, which export does not know; remove the key if it changes nothing "
                "that the model computes, or use a plain Qwen3 model"
            )


def _check_family(config: Mapping[str, Any]) -> None:
    model_type = config.get("model_type")
    if model_type != "qwen3":
        reason = _MODEL_TYPES.get(str(model_type), "is not of the family Qwen3")
        raise ExportError(
            f"config.json has model_type = {model_type!r}: the model {reason}, and export takes Qwen3 text models "
            "only; use one, such as Qwen/Qwen3-Embedding-0.6B or a fine-tune of it"
        )
    architectures = config.get("architectures")
    for architecture in architectures if isinstance(architectures, list) else ():
        if architecture not in _ARCHITECTURES:
            raise ExportError(
                f"config.json has the architecture {architecture}, which export does not know; use a model that "
                f"transformers saved as one of {', '.join(_ARCHITECTURES)}"
            )


def _check_forms(config: Mapping[str, Any]) -> None:
    """Make sure that the value of each key that is used is of the right type; null stands for a missing key."""
    for key, form in {**_USED, "num_labels": "a positive whole number"}.items():
        value = config.get(key)
        if value is not None and not FORMS[form](value):
            raise ExportError(
                f"config.json has {key} = {value!r}, which is not {form}; use the file that came with the checkpoint"
            )


def _check_quantization(config: object) -> None:
    if config is None:
        return
    method = str(config.get("quant_method", "an unknown method")) if isinstance(config, Mapping) else repr(config)
    raise ExportError(
        f"config.json has a quantization_config: the weights were quantized with {_QUANTIZERS.get(method, method)}; "
        "use the checkpoint in bfloat16 from which they were made, and let export quantize it, with --precision int8"
    )
