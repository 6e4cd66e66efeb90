"""The padding front: it turns ragged requests into padded batches for the model beside it.

Triton's python backend loads this file and passes it every batch that its scheduler forms. The padding front sorts the
texts by length, divides them into groups of similar length, pads each group, and calls the model that the parameter
`plan_model` names, in the same Triton process. Then it answers each request with its own rows. It knows nothing about
text, tokenizers or pooling, and nothing about what runs the other model: a TensorRT plan, or anything else with the
same inputs and outputs.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import triton_python_backend_utils as pb_utils
from triton_requests import RequestCheck, error_response
from triton_tensors import as_array, as_tensor

Ids = npt.NDArray[np.int64]
Rows = npt.NDArray[np.float32]

# Outputs that have another name in the portable graph.
_PLAN_OUTPUTS = {"embedding": "pooled"}


class TritonPythonModel:
    """One model instance. Triton calls the three methods by these names."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the configuration.

        Args:
            args: Triton's arguments, among them the configuration as JSON.
        """
        config = json.loads(args["model_config"])
        parameters = {key: value["string_value"] for key, value in config["parameters"].items()}
        self._plan_model = parameters["plan_model"]
        self._check = RequestCheck.from_parameters(parameters)
        self._limits = Limits(
            texts=int(parameters["max_batch_texts"]),
            positions=int(parameters["max_batch_slots"]),
            positions_per_token=float(parameters["max_slots_per_token"]),
        )
        self._outputs = [output["name"] for output in config["output"]]

    async def execute(self, requests: Sequence[pb_utils.InferenceRequest]) -> list[pb_utils.InferenceResponse]:
        """Run one batch. A request holds one text ``[1, n]``, or several of equal length ``[b, n]``."""
        inputs: list[Ids] = [as_array(pb_utils.get_input_tensor_by_name(request, "input_ids")) for request in requests]
        refusals = [self._check.refusal(ids) for ids in inputs]
        accepted = [ids for ids, refusal in zip(inputs, refusals, strict=True) if refusal is None]
        answers = iter(await self._run(accepted))
        return [next(answers) if refusal is None else refusal for refusal in refusals]

    async def _run(self, requests: list[Ids]) -> list[pb_utils.InferenceResponse]:
        """Run admitted requests `[b_i, n_i]` and return their responses in the same order."""
        texts = [row for ids in requests for row in ids]
        groups = padded_groups([text.size for text in texts], self._limits)
        # All groups are sent at once, so that the next one is ready when the one before it has run.
        results = await asyncio.gather(*(self._run_group([texts[i] for i in group]) for group in groups))
        rows: list[tuple[Rows, ...] | str] = [""] * len(texts)
        for group, result in zip(groups, results, strict=True):
            for i, text_index in enumerate(group):
                rows[text_index] = result if isinstance(result, str) else tuple(output[i] for output in result)
        ends = np.cumsum([ids.shape[0] for ids in requests])
        return [self._answer(rows[end - ids.shape[0] : end]) for ids, end in zip(requests, ends, strict=True)]

    async def _run_group(self, texts: list[Ids]) -> list[Rows] | str:
        """Run one padded batch; returns its outputs `[texts, size]`, or an error message."""
        input_ids, attention_mask = padded(texts)
        request = pb_utils.InferenceRequest(
            model_name=self._plan_model,
            requested_output_names=[_PLAN_OUTPUTS.get(name, name) for name in self._outputs],
            inputs=[as_tensor("input_ids", input_ids), as_tensor("attention_mask", attention_mask)],
            preferred_memory=pb_utils.PreferredMemory(pb_utils.TRITONSERVER_MEMORY_CPU),
        )
        try:
            response = await request.async_exec()
        except pb_utils.TritonModelException as error:
            return f"{self._plan_model} could not be called: {error}"
        if response.has_error():
            return f"{self._plan_model} failed: {response.error().message()}"
        return [
            as_array(pb_utils.get_output_tensor_by_name(response, _PLAN_OUTPUTS.get(name, name)))
            for name in self._outputs
        ]

    def _answer(self, rows: list[tuple[Rows, ...] | str]) -> pb_utils.InferenceResponse:
        """Return one request's response: its rows, or the first error message among them."""
        complete: list[tuple[Rows, ...]] = []
        for row in rows:
            if isinstance(row, str):
                return error_response(row, pb_utils.TritonError.INTERNAL)
            complete.append(row)
        outputs = zip(*complete, strict=True)
        return pb_utils.InferenceResponse(
            [as_tensor(name, np.stack(output)) for name, output in zip(self._outputs, outputs, strict=True)]
        )


@dataclass(frozen=True, slots=True)
class Limits:
    """How large a padded batch may be.

    Attributes:
        texts: Most texts.
        positions: Most positions, padding included: texts times the longest text. A longer text runs alone.
        positions_per_token: Most positions for each token; 1 allows no padding.
    """

    texts: int
    positions: int
    positions_per_token: float


def padded_groups(lengths: Sequence[int], limits: Limits) -> list[list[int]]:
    """Divide texts into groups of similar length, each of which will be padded to its longest text.

    Args:
        lengths: Tokens of each text, at least 1.
        limits: How large a group may be.

    Returns:
        The indices of each group's texts, shorter texts first. Every text is in exactly one group.
    """
    groups: list[list[int]] = []
    tokens = 0
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        length = lengths[index]
        tokens += length
        # The lengths are ascending, so this text is the longest of the group.
        texts = len(groups[-1]) + 1 if groups else limits.texts + 1
        positions = texts * length
        if texts > limits.texts or positions > limits.positions or positions > limits.positions_per_token * tokens:
            groups.append([])
            tokens = length
        groups[-1].append(index)
    return groups


def padded(texts: Sequence[Ids]) -> tuple[Ids, Ids]:
    """Pad texts on the right; returns `input_ids` and `attention_mask`, INT64 `[texts, longest]`."""
    shape = (len(texts), max(text.size for text in texts))
    input_ids, attention_mask = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    for row, text in enumerate(texts):
        input_ids[row, : text.size] = text
        attention_mask[row, : text.size] = 1
    return input_ids, attention_mask
