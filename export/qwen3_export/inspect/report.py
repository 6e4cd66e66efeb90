"""An inspection as a table for people, and as JSON for programs."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from ..checkpoint.mrl import FIXED
from ..size import in_words
from .inspection import Files, Inspection
from .memory import LONGEST_TEXT

_WIDTH = 100  # columns
_POOLING = {"lasttoken": "last token", "mean": "mean", "cls": "first token (cls)"}


def as_json(inspection: Inspection) -> dict[str, Any]:
    """Return an inspection as what JSON can hold.

    The keys stay the same from release to release; a key whose value is not known is missing.
    """
    return {
        "source": inspection.request.source,
        "exportable": not inspection.refusals,
        "refusals": list(inspection.refusals),
        "notes": [] if inspection.plan is None else list(inspection.plan.notes),
        **_facts(inspection),
        "precisions": [
            {
                "device": files.device,
                "precision": files.precision,
                "disk_bytes": files.disk,
                "memory_bytes": files.memory,
                "refusal": files.refusal,
            }
            for files in inspection.files
        ],
    }


def as_text(inspection: Inspection) -> str:
    """Return an inspection as a table, sizes by precision, and notes or refusals."""
    facts = as_json(inspection)
    lines = _aligned([("source", inspection.request.source), *_rows(facts)])
    if inspection.files:
        lines += ["", *_aligned([("device", "precision", "disk", "memory"), *map(_cells, inspection.files)])]
        tokens = min(facts["context"], LONGEST_TEXT)
        memory = (
            f"Memory on a CPU: weights, Triton and its host, and texts of {tokens:,} tokens in computation; without "
            "the prefix cache, and without the embedding table, which stays in the page cache. On a GPU: the weights. "
            "Disk for tensorrt: without the plan."
        )
        lines += ["", *textwrap.wrap(memory, _WIDTH)]
    lines += ["", *(f"note: {note}" for note in facts["notes"])] if facts["notes"] else []
    lines += ["", *(f"refused: {reason}" for reason in facts["refusals"])] if facts["refusals"] else []
    return "\n".join(lines)


def _facts(inspection: Inspection) -> dict[str, Any]:
    plan, parameters = inspection.plan, inspection.parameters
    if plan is None:
        return {}
    checkpoint, g = plan.checkpoint, plan.checkpoint.geometry
    facts: dict[str, Any] = {
        "revision": checkpoint.revision,
        "adapter": None if checkpoint.adapter is None else str(checkpoint.adapter),
        "kind": plan.kind.kind,
        "kind_reason": plan.kind.reason,
        "size": g.size,
        "parameters": g.parameters,
        "layers": g.layers,
        "hidden_size": g.hidden,
        "heads": g.heads,
        "key_value_heads": g.kv_heads,
        "head_dim": g.head_dim,
        "attention": "causal" if g.is_causal else "full",
        "context": g.max_tokens,
        "vocabulary": g.vocabulary,
    }
    if plan.kind.kind == "reranker":
        facts["head"] = inspection.head
    elif checkpoint.mrl is not None:
        modules = checkpoint.modules
        facts |= {
            "pooling": modules.pooling,
            "dense": [
                {"name": each.name, "inputs": each.inputs, "outputs": each.outputs, "activation": each.activation}
                for each in modules.dense
            ],
            "normalized": modules.is_normalized,
            "dimensions": checkpoint.dimensions,
            "mrl_dimensions": checkpoint.mrl.sizes,
            "mrl_reason": checkpoint.mrl.reason,
        }
    told = ("default_instruction", "query_prompt", "document_prompt", "prompt_template")
    facts |= {key: parameters[key] for key in (*told, "tokenizer_sha256") if key in parameters}
    return facts | ({"eos_token_id": int(parameters["eos_token_id"])} if "eos_token_id" in parameters else {})


def _rows(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what is known, as pairs of a name and a text."""
    if "kind" not in facts:
        return []
    rows = [
        ("revision", facts["revision"]),
        ("adapter", facts["adapter"]),
        ("kind", f"{facts['kind']} ({facts['kind_reason']})"),
        ("size", f"{facts['size']} ({facts['parameters']:,} parameters)"),
        (
            "decoder",
            f"{facts['layers']} layers, hidden size {facts['hidden_size']:,}, {facts['heads']} heads and "
            f"{facts['key_value_heads']} key/value heads of {facts['head_dim']}",
        ),
        ("attention", facts["attention"]),
        ("context", f"{facts['context']:,} tokens"),
        ("head", facts.get("head")),
    ]
    if "dimensions" in facts:
        dense = (
            f"{each['name']} {each['inputs']} -> {each['outputs']}, {each['activation']}" for each in facts["dense"]
        )
        rows += [
            ("pooling", _POOLING[facts["pooling"]]),
            ("dense layers", "; ".join(dense) or "none"),
            ("normalised", "yes" if facts["normalized"] else "no"),
            ("dimensions", _dimensions(facts)),
        ]
    rows += [
        ("instruction", facts.get("default_instruction")),
        ("query prompt", _quoted(facts.get("query_prompt"))),
        ("document prompt", _quoted(facts.get("document_prompt"))),
        ("prompt template", _quoted(facts.get("prompt_template"))),
    ]
    if "tokenizer_sha256" in facts:
        end = f", end token {facts['eos_token_id']}" if "eos_token_id" in facts else ""
        rows.append(
            ("tokenizer", f"sha256 {facts['tokenizer_sha256'][:12]}, vocabulary of {facts['vocabulary']:,}{end}")
        )
    return [(name, text) for name, text in rows if text]


def _dimensions(facts: Mapping[str, Any]) -> str:
    full, sizes, reason = facts["dimensions"], facts["mrl_dimensions"], facts["mrl_reason"]
    if sizes == FIXED:
        return f"{full}, fixed ({reason})"
    allowed = f"from {sizes.replace('-', ' to ')}" if "-" in sizes else sizes.replace(",", ", ")
    return f"{full}; may be cut to sizes {allowed} ({reason})"


def _quoted(text: str | None) -> str | None:
    return None if text is None else json.dumps(text, ensure_ascii=False)


def _cells(files: Files) -> tuple[str, ...]:
    sizes = ["-" if size is None else in_words(size) for size in (files.disk, files.memory)]
    return (
        (files.device, files.precision, *sizes)
        if files.refusal is None
        else (files.device, files.precision, "refused", "-")
    )


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
