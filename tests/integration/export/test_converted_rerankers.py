"""Rerankers with a head of their own: converted checkpoints, and what sentence-transformers saves."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch
from google.protobuf import text_format
from qwen3_client.pair_template import QWEN_TEMPLATE
from qwen3_export import ExportError, export
from qwen3_export.checkpoint import pair_prompt
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.cross_encoder.modules import Dense
from support.checkpoints import Shape, make_checkpoint
from support.cross_encoders import (
    TEMPLATE,
    edit_json,
    logits_of,
    make_classifier,
    save_cross_encoder,
    save_logit_score,
    write_tokenizer,
)
from support.oracle import Ids, random_texts, reference_logits
from support.packed import PackedSession
from tokenizers import Tokenizer
from transformers import Qwen3ForSequenceClassification
from tritonclient.grpc.model_config_pb2 import ModelConfig

# transformers takes the last token that is not the pad token. A reranker's prompt never ends with that one.
PROMPTS = [ids[:-1] for ids in random_texts([2, 3, 8, 8, 34, 101, 258, 301])]
END, LINE_END = "<|endoftext|>", "\n"
ROLE = {
    role: f'{{{{ messages | selectattr("role", "eq", "{role}") | map(attribute="content") | first }}}}'
    for role in ("query", "document")
}
CHATML = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
PAIRS = [("red planet", "Mars"), ("red planet", "Venus is hot"), ("火星", "x")]


def reference(checkpoint: Path) -> torch.Tensor:
    """What transformers computes for the prompts, each alone in float32: `[n, labels]`."""
    model = Qwen3ForSequenceClassification.from_pretrained(checkpoint, dtype=torch.float32)
    with torch.inference_mode():
        return torch.cat([model(torch.from_numpy(ids)[None]).logits for ids in PROMPTS])


def parameters_of(directory: Path) -> dict[str, str]:
    parsed = text_format.Parse((directory / "config.pbtxt").read_text(), ModelConfig())
    return {key: value.string_value for key, value in parsed.parameters.items()}


def official_ids(folder: Path, instruction: str) -> list[Ids]:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    texts = [QWEN_TEMPLATE.format(instruction=instruction, query=query, document=text) for query, text in PAIRS]
    return [np.array(tokenizer.encode(text, add_special_tokens=False).ids) for text in texts]


@pytest.mark.parametrize("problem", [None, "regression", "multi_label_classification"])
def test_one_label_is_the_logit_and_its_sigmoid_the_score(tmp_path: Path, problem: str | None) -> None:
    checkpoint = make_classifier(tmp_path / "checkpoint", problem_type=problem)
    exported = export(str(checkpoint), repository=tmp_path)
    assert exported.kind.kind == "reranker"
    assert exported.kind.reason == "config.json names Qwen3ForSequenceClassification"
    results = PackedSession(exported.directory).run(PROMPTS)
    logits = reference(checkpoint)
    np.testing.assert_allclose(results["logit"], logits, atol=1e-4)
    np.testing.assert_allclose(results["score"], logits.sigmoid(), atol=1e-5)


@pytest.mark.parametrize("precision", ["fp32", "int8", "int4-weight"])
def test_a_pair_keeps_its_bits_in_any_batch(tmp_path: Path, precision: Any) -> None:  # noqa: ANN401
    checkpoint = make_classifier(tmp_path / "checkpoint")
    session = PackedSession(export(str(checkpoint), repository=tmp_path, precision=precision).directory)
    together = session.run(PROMPTS)
    for index, prompt in enumerate(PROMPTS):
        for name, rows in session.run([prompt]).items():
            np.testing.assert_array_equal(rows[0], together[name][index])


@pytest.mark.parametrize("names", [None, ("no", "yes"), ("Relevant", "not relevant")])
def test_two_labels_are_a_softmax(tmp_path: Path, names: tuple[str, str] | None) -> None:
    config: dict[str, Any] = {} if names is None else {"id2label": dict(enumerate(names))}
    checkpoint = make_classifier(
        tmp_path / "checkpoint", labels=2, problem_type="single_label_classification", **config
    )
    results = PackedSession(export(str(checkpoint), repository=tmp_path).directory).run(PROMPTS)
    relevant = 0 if names is not None and names[0] == "Relevant" else 1
    logits = reference(checkpoint)
    np.testing.assert_allclose(results["score"][:, 0], logits.softmax(dim=-1)[:, relevant], atol=1e-5)
    np.testing.assert_allclose(results["logit"][:, 0], logits[:, relevant] - logits[:, 1 - relevant], atol=1e-4)


def test_a_bias_is_refused_as_transformers_has_none(tmp_path: Path) -> None:
    checkpoint = make_classifier(tmp_path / "checkpoint", labels=2)
    plain = reference(checkpoint)
    tensors = safetensors.numpy.load_file(checkpoint / "model.safetensors")
    tensors["score.bias"] = np.array([0.5, 2.0], np.float32)
    safetensors.numpy.save_file(tensors, checkpoint / "model.safetensors", {"format": "pt"})
    torch.testing.assert_close(reference(checkpoint), plain)
    with pytest.raises(ExportError, match=r"holds score\.bias, which a Qwen3 model"):
        export(str(checkpoint), repository=tmp_path)


def test_a_stored_head_goes_before_tied_embeddings(tmp_path: Path) -> None:
    """As in transformers 5, whatever `tie_word_embeddings` says."""
    checkpoint = make_checkpoint(tmp_path / "checkpoint", Shape(dtype="float32", tied=True))
    tied = reference_logits(checkpoint, PROMPTS, yes=258, no=259)
    tensors = safetensors.numpy.load_file(checkpoint / "model.safetensors")
    tensors["lm_head.weight"] = np.random.default_rng(0).standard_normal((260, 64)).astype(np.float32)
    safetensors.numpy.save_file(tensors, checkpoint / "model.safetensors", {"format": "pt"})
    untied = reference_logits(checkpoint, PROMPTS, yes=258, no=259)
    assert np.abs(tied - untied).max() > 1
    results = PackedSession(export(str(checkpoint), repository=tmp_path, kind="reranker").directory).run(PROMPTS)
    np.testing.assert_allclose(results["logit"][:, 0], untied, atol=1e-4)


def test_a_classifier_is_no_embedding_model(tmp_path: Path) -> None:
    """Also if config.json does not name the classifier, so that nothing but its head tells."""
    checkpoint = make_classifier(tmp_path / "checkpoint", labels=3)
    edit_json(checkpoint / "config.json", architectures=None)
    with pytest.raises(ExportError, match=r"holds score\.weight, the head of a classifier"):
        export(str(checkpoint), repository=tmp_path)


def test_a_converted_reranker_equals_its_original(tmp_path: Path) -> None:
    """The conversion that is published: the head is the row of "yes" minus the row of "no"."""
    original = make_checkpoint(tmp_path / "original", Shape(dtype="float32"))
    converted = make_classifier(tmp_path / "converted")
    tensors = safetensors.numpy.load_file(original / "model.safetensors")
    table = tensors["model.embed_tokens.weight"]
    tensors["score.weight"] = (table[258] - table[259])[None]
    safetensors.numpy.save_file(tensors, converted / "model.safetensors", {"format": "pt"})
    results = [
        PackedSession(export(str(folder), repository=tmp_path, name=folder.name, kind="reranker").directory).run(
            PROMPTS
        )
        for folder in (original, converted)
    ]
    np.testing.assert_allclose(results[0]["logit"], results[1]["logit"], atol=1e-4)


@pytest.mark.parametrize(
    ("labels", "fields", "message"),
    [
        (3, {}, "3 labels"),
        (
            2,
            {"problem_type": "multi_label_classification"},
            "problem_type = 'multi_label_classification' with 2 labels",
        ),
        (1, {"problem_type": "single_label_classification"}, "problem_type = 'single_label_classification' with 1 lab"),
        (1, {"sentence_transformers": {"activation_fn": "torch.nn.modules.activation.Tanh"}}, "activation torch.nn"),
        (2, {"sentence_transformers": {"activation_fn": "torch.nn.modules.activation.Sigmoid"}}, "torch.nn.Softmax"),
        (1, {"sbert_ce_default_activation_function": "mine.Sigmoid"}, "activation mine.Sigmoid"),
        (2, {"id2label": {"0": "cat", "1": "dog"}}, "which of them means relevant"),
        (1, {"architectures": ["Qwen3ForCausalLM"]}, "holds score.weight"),
    ],
)
def test_what_is_not_one_probability_is_refused(
    tmp_path: Path, labels: int, fields: dict[str, Any], message: str
) -> None:
    checkpoint = make_classifier(tmp_path / "checkpoint", labels=labels)
    edit_json(checkpoint / "config.json", **fields)
    with pytest.raises(ExportError, match=message):
        export(str(checkpoint), repository=tmp_path / "repository", kind="reranker")
    assert not (tmp_path / "repository" / "qwen3_reranker").exists()


@pytest.mark.parametrize("activation", [torch.nn.Sigmoid(), torch.nn.Identity()], ids=["sigmoid", "identity"])
def test_a_saved_cross_encoder_keeps_its_logits(tmp_path: Path, activation: torch.nn.Module) -> None:
    folder = save_cross_encoder(tmp_path, activation_fn=activation)
    exported = export(str(folder), repository=tmp_path)
    assert exported.kind.reason == "config_sentence_transformers.json describes a cross-encoder"
    assert parameters_of(exported.directory)["default_instruction"] == "Find the passage"
    results = PackedSession(exported.directory).run(official_ids(folder, "Find the passage"))
    np.testing.assert_allclose(results["logit"][:, 0], logits_of(folder, PAIRS), atol=1e-4)


@pytest.mark.parametrize("no", [259, 100, None])
def test_the_tokens_of_a_logit_score_are_used(tmp_path: Path, no: int | None) -> None:
    folder = save_logit_score(tmp_path, true_token_id=97, false_token_id=no)
    exported = export(str(folder), repository=tmp_path)
    assert exported.kind.kind == "reranker"
    results = PackedSession(exported.directory).run(official_ids(folder, "Find the passage"))
    np.testing.assert_allclose(results["logit"][:, 0], logits_of(folder, PAIRS), atol=1e-4)


@pytest.mark.parametrize(
    ("file", "fields", "message"),
    [
        (
            "config_sentence_transformers.json",
            {"activation_fn": "torch.nn.modules.activation.Tanh"},
            "activation torch",
        ),
        ("config_sentence_transformers.json", {"scale": 2}, "scale = 2, which export does not know"),
        ("sentence_bert_config.json", {"do_lower_case": True}, "do_lower_case = True"),
        ("sentence_bert_config.json", {"stride": 3}, "stride = 3, which export does not know"),
        ("sentence_bert_config.json", {"processing_kwargs": {"text": {"max_length": 9}}}, "chat_template alone"),
        ("sentence_bert_config.json", {"modality_config": {"text": {"method": "x"}}}, "modality_config.text"),
    ],
)
@pytest.mark.parametrize("save", [save_cross_encoder, save_logit_score])
def test_settings_of_a_cross_encoder_that_change_a_score_are_refused(
    tmp_path: Path, save: Callable[[Path], Path], file: str, fields: dict[str, Any], message: str
) -> None:
    folder = save(tmp_path)
    edit_json(folder / file, **fields)
    with pytest.raises(ExportError, match=message):
        export(str(folder), repository=tmp_path)


def test_what_a_logit_score_has_more_is_refused(tmp_path: Path) -> None:
    folder = save_logit_score(tmp_path)
    edit_json(folder / "1_LogitScore" / "config.json", temperature=2)
    with pytest.raises(ExportError, match="temperature = 2, which export does not know"):
        export(str(folder), repository=tmp_path)
    edit_json(folder / "1_LogitScore" / "config.json", temperature=None)
    modules = json.loads((folder / "modules.json").read_text())
    (folder / "modules.json").write_text(json.dumps([modules[0], modules[1] | {"kwargs": ["task"]}]))
    with pytest.raises(ExportError, match=r"passes \['task'\]"):
        export(str(folder), repository=tmp_path)


@pytest.mark.parametrize(("token", "message"), [(260, "vocabulary ends at 259"), (None, "are not ids")])
def test_a_logit_score_with_other_tokens_is_refused(tmp_path: Path, token: int | None, message: str) -> None:
    folder = save_logit_score(tmp_path)
    edit_json(folder / "1_LogitScore" / "config.json", true_token_id=token)
    with pytest.raises(ExportError, match=message):
        export(str(folder), repository=tmp_path)


def test_the_default_prompt_of_a_cross_encoder_is_its_instruction(tmp_path: Path) -> None:
    folder = save_cross_encoder(tmp_path, prompts={"code": "Find code"}, default_prompt_name="code")
    directory = export(str(folder), repository=tmp_path).directory
    assert parameters_of(directory)["default_instruction"] == "Find code"
    results = PackedSession(directory).run(official_ids(folder, "Find code"))
    np.testing.assert_allclose(results["logit"][:, 0], logits_of(folder, PAIRS), atol=1e-4)


@pytest.mark.parametrize(
    ("template", "expected", "default"),
    [
        (TEMPLATE, QWEN_TEMPLATE, "Find the passage"),
        (TEMPLATE.replace("<think>\n\n</think>\n\n\n", ""), None, "Find the passage"),
        (f"{ROLE['document']} | {ROLE['query']} {{}}", "{document} | {query} {}", None),
        # With an instruction the form is another one, which is not what predict makes by default.
        (
            "{% if messages[0].role == 'system' %}Do {{ messages[0].content }}. {% endif %}"
            f"{ROLE['query']}: {ROLE['document']}",
            "{query}: {document}",
            None,
        ),
    ],
)
def test_a_template_becomes_one_with_placeholders(
    tmp_path: Path, template: str, expected: str | None, default: str | None
) -> None:
    checkpoint = make_classifier(tmp_path / "checkpoint", template=template)
    parameters = parameters_of(export(str(checkpoint), repository=tmp_path).directory)
    assert parameters["prompt_template"] == (expected or QWEN_TEMPLATE.removesuffix("\n<think>\n\n</think>\n\n"))
    assert parameters.get("default_instruction") == default


@pytest.mark.parametrize(
    "template",
    [
        f"{ROLE['query']} {ROLE['document'].replace('first', 'first | trim')}",
        f"{ROLE['query']} {ROLE['document'].replace('first', 'first | truncate(1000)')}",
        f"{ROLE['query']} {ROLE['document'].replace('first', 'first | escape')}",
        f"{ROLE['query']} {ROLE['document'].replace('first', 'first | lower')}",
        f"{ROLE['query']} {ROLE['document'].replace('first', 'first | upper')}",
        f"{ROLE['query']} {ROLE['query']} {ROLE['document']}",
        f"{ROLE['query']} {ROLE['document']} {{instruction}}",
    ],
)
def test_a_template_that_placeholders_cannot_express_is_refused(tmp_path: Path, template: str) -> None:
    checkpoint = make_classifier(tmp_path / "checkpoint", template=template)
    with pytest.raises(ExportError, match=r"the chat template in .* (does more than|another number of times)"):
        export(str(checkpoint), repository=tmp_path / "repository")


def test_a_prompt_without_a_template_is_refused(tmp_path: Path) -> None:
    folder = save_cross_encoder(tmp_path, template=None, prompts={"a": "Find "}, default_prompt_name="a")
    (folder / "modules.json").unlink()
    with pytest.raises(ExportError, match="no chat template that it belongs to"):
        export(str(folder), repository=tmp_path)


@pytest.mark.parametrize("how", ["saved without a template", "a template that is not rendered"])
def test_pairs_that_the_library_joins_without_a_token_between_are_refused(tmp_path: Path, how: str) -> None:
    folder = save_cross_encoder(tmp_path, template=None if how.startswith("saved") else TEMPLATE)
    if how.startswith("a template"):
        forward = {"method": "forward", "method_output_name": "logits"}
        edit_json(folder / "sentence_bert_config.json", modality_config={"text": forward})
    model = CrossEncoder(str(folder), device="cpu")
    (ids,) = model.preprocess([("I say y", "es")])["input_ids"].tolist()
    assert ids == [*model.tokenizer.encode("I say y")[:-1], *model.tokenizer.encode("es")[:-1]]
    with pytest.raises(ExportError, match=r"no modality_config.message.*at once.*use one with a chat template"):
        export(str(folder), repository=tmp_path)


@pytest.mark.parametrize("prompt", [None, "Find "])
def test_pairs_that_the_library_joins_with_tokens_are_exported_so(tmp_path: Path, prompt: str | None) -> None:
    folder = save_cross_encoder(
        tmp_path,
        template=None,
        prompts={} if prompt is None else {"a": prompt},
        default_prompt_name=None if prompt is None else "a",
    )
    tokenizer = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    sequence, end = (
        [{"Sequence": {"id": name, "type_id": 0}} for name in "AB"],
        {"SpecialToken": {"id": END, "type_id": 0}},
    )
    tokenizer["post_processor"]["pair"] = [sequence[0], end, sequence[1], end]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), "utf-8")
    directory = export(str(folder), repository=tmp_path).directory
    template = parameters_of(directory)["prompt_template"]
    assert template == f"{prompt or ''}{{query}}{END}{{document}}{END}"
    assert "default_instruction" not in parameters_of(directory)
    model = CrossEncoder(str(folder), device="cpu")
    for query, document in PAIRS:
        (ids,) = model.preprocess([(query, document)], prompt=prompt)["input_ids"].tolist()
        made = template.replace("{query}", query).replace("{document}", document)
        assert ids == model.tokenizer.encode(made, add_special_tokens=False)


def test_a_template_that_takes_no_pairs_is_refused_if_the_library_renders_it(tmp_path: Path) -> None:
    chat = "{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}{% endif %}{% endfor %}"
    folder = save_cross_encoder(tmp_path, template=chat)
    with pytest.raises(ValueError, match="cannot carry"):
        CrossEncoder(str(folder), device="cpu").predict(PAIRS)
    with pytest.raises(ExportError, match="no chat template that takes a query and a document"):
        export(str(folder), repository=tmp_path)


def test_a_template_for_chats_changes_nothing(tmp_path: Path) -> None:
    chat = "{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}{% endif %}{% endfor %}"
    strict = "{% if messages[0].role != 'user' %}{{ raise_exception('begin with the user') }}{% endif %}"
    for name, template in (("chat", chat), ("strict", strict), ("none", None)):
        checkpoint = make_classifier(tmp_path / name, template=template)
        directory = export(str(checkpoint), repository=tmp_path, name=f"from_{name}").directory
        assert parameters_of(directory)["default_instruction"].startswith("Given a web search query")


@pytest.mark.parametrize(
    "change",
    [
        lambda template: f"{{% generation %}}{template.removesuffix(LINE_END)}{{% endgeneration %}}",
        lambda template: f"{{% set today = strftime_now('%d %b %Y') %}}{template}",
        lambda template: f"{{% if eos_token + '' != '{END}' %}}{{{{ 1 / 0 }}}}{{% endif %}}{template}",
    ],
    ids=["generation", "strftime_now", "special tokens"],
)
def test_what_transformers_offers_to_templates_is_there(tmp_path: Path, change: Callable[[str], str]) -> None:
    folder = save_logit_score(tmp_path, template=change(TEMPLATE))
    directory = export(str(folder), repository=tmp_path).directory
    assert parameters_of(directory)["default_instruction"] == "Find the passage"
    results = PackedSession(directory).run(official_ids(folder, "Find the passage"))
    np.testing.assert_allclose(results["logit"][:, 0], logits_of(folder, PAIRS), atol=1e-4)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ messages | unknown_filter }}", r"rendered \(TemplateAssertionError: No filter named 'unknown_filter'"),
        ("{% for m in messages %}{{ 1 / 0 }}{% endfor %}", r"rendered \(ZeroDivisionError"),
        ("{{ bos_token + messages[0].content }}", r"rendered \(UndefinedError: 'bos_token' is undefined"),
        ("{% if %}", r"rendered \(TemplateSyntaxError"),
    ],
)
def test_a_template_that_fails_is_not_taken_for_none(tmp_path: Path, template: str, message: str) -> None:
    checkpoint = make_classifier(tmp_path / "checkpoint", template=template)
    with pytest.raises(ExportError, match=message):
        export(str(checkpoint), repository=tmp_path)


@pytest.mark.parametrize("save", [save_cross_encoder, save_logit_score])
def test_a_template_for_chats_is_the_prompt_of_a_cross_encoder(tmp_path: Path, save: Callable[..., Path]) -> None:
    """sentence-transformers renders it, so the official prompt would be another one."""
    folder = save(tmp_path, template=CHATML)
    prompt = CrossEncoder(str(folder), device="cpu")[0].preprocess([PAIRS[0]])["input_ids"]
    ours = Tokenizer.from_file(str(folder / "tokenizer.json")).decode(prompt[0].tolist())
    assert ours.startswith("<|im_start|>query")
    stated = parameters_of(export(str(folder), repository=tmp_path).directory)["prompt_template"]
    assert stated.format(query=PAIRS[0][0], document=PAIRS[0][1]) == ours


@pytest.mark.parametrize("stored", ["files", "tokenizer_config.json", "itself"])
def test_a_named_template_is_used_where_it_is_asked_for(tmp_path: Path, stored: str) -> None:
    folder = save_logit_score(tmp_path, template="{{ raise_exception('not for pairs') }}")
    if stored == "files":
        (folder / "additional_chat_templates").mkdir()
        (folder / "additional_chat_templates" / "rerank.jinja").write_text(TEMPLATE)
    elif stored == "tokenizer_config.json":
        (folder / "chat_template.jinja").unlink()
        templates = [{"name": "default", "template": "{{ raise_exception('no') }}"}]
        edit_json(
            folder / "tokenizer_config.json", chat_template=[*templates, {"name": "rerank", "template": TEMPLATE}]
        )
    edit_json(
        folder / "sentence_bert_config.json",
        processing_kwargs={"chat_template": {"chat_template": TEMPLATE if stored == "itself" else "rerank"}},
    )
    directory = export(str(folder), repository=tmp_path).directory
    assert parameters_of(directory)["default_instruction"] == "Find the passage"
    results = PackedSession(directory).run(official_ids(folder, "Find the passage"))
    np.testing.assert_allclose(results["logit"][:, 0], logits_of(folder, PAIRS), atol=1e-4)


def test_the_prompt_is_the_clients() -> None:
    assert pair_prompt.QWEN_TEMPLATE == QWEN_TEMPLATE


def test_kinds_that_sentence_transformers_saved_are_told_apart(tmp_path: Path) -> None:
    plain = make_checkpoint(tmp_path / "a-reranker-by-name", Shape(prefixed=False))
    write_tokenizer(plain)
    folder = tmp_path / "saved-reranker"
    SentenceTransformer(str(plain), device="cpu").save_pretrained(str(folder))
    assert json.loads((folder / "config_sentence_transformers.json").read_text())["model_type"] == "SentenceTransformer"
    assert export(str(folder), repository=tmp_path).kind.kind == "embedding"

    edit_json(folder / "config_sentence_transformers.json", model_type="SparseEncoder")
    with pytest.raises(ExportError, match="describes a SparseEncoder"):
        export(str(folder), repository=tmp_path)


def test_modules_after_the_transformer_are_refused(tmp_path: Path) -> None:
    folder = save_cross_encoder(tmp_path)
    modules = json.loads((folder / "modules.json").read_text())
    modules.append({"idx": 1, "name": "1", "path": "1_Dense", "type": f"{Dense.__module__}.Dense"})
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ExportError, match="lists Transformer, Dense"):
        export(str(folder), repository=tmp_path)


@pytest.mark.parametrize(
    "template",
    [
        # ChatML, which prints any role, and the beginning of Qwen3's own, which skips those that it does not know.
        "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}",
        "{%- if tools %}assist with the user query{%- endif %}{%- for message in messages %}"
        "{%- if message.role == 'user' %}{{- message.content }}{%- endif %}{%- endfor %}",
    ],
)
def test_a_template_for_chats_says_nothing_about_pairs(tmp_path: Path, template: str) -> None:
    """The published rerankers have one: their prompt is the official one of the model card."""
    folder = make_checkpoint(tmp_path / "model", Shape(dtype="float32", tied=False))
    write_tokenizer(folder, template=template)
    directory = export(str(folder), repository=tmp_path / "repository", kind="reranker").directory
    assert parameters_of(directory)["default_instruction"].startswith("Given a web search query")
