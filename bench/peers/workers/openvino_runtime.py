"""OpenVINO with the model that optimum-intel converts, on padded batches of texts of similar length.

The option `precision` is `f32` or `bf16`, the inference precision; or `int8`, for optimum-intel's 8-bit weights with
activations that OpenVINO quantizes at run time.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import openvino

from .padding import by_length, last_token, padded
from .protocol import Local, Text, Vectors, serve


class OpenVino(Local):
    """One compiled model."""

    def prepare(self, options: dict[str, Any]) -> None:
        """Convert the checkpoint."""
        folder = Path(options["folder"])
        if (folder / "openvino_model.xml").exists():
            return
        from optimum.intel import OVModelForFeatureExtraction, OVWeightQuantizationConfig

        int8 = options["precision"] == "int8"
        model = OVModelForFeatureExtraction.from_pretrained(
            options["checkpoint"],
            export=True,
            compile=False,
            load_in_8bit=False,
            quantization_config=OVWeightQuantizationConfig(bits=8, sym=True) if int8 else None,
        )
        model.save_pretrained(folder)

    def load(self, options: dict[str, Any]) -> None:
        """See `Engine`."""
        settings: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",  # one batch at a time, all cores
            "INFERENCE_NUM_THREADS": options["threads"],
        }
        if options["precision"] == "int8":
            settings["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = options["group"]
        else:
            settings["INFERENCE_PRECISION_HINT"] = options["precision"]
        self._model = openvino.Core().compile_model(f"{options['folder']}/openvino_model.xml", "CPU", settings)
        self._inputs = {name for item in self._model.inputs for name in item.names}
        self._request = self._model.create_infer_request()

    def embed(self, texts: Sequence[Text], *, width: int) -> Vectors:
        """See `Engine`."""
        return by_length(texts, width, self._run)

    def _run(self, texts: Sequence[Text]) -> Vectors:
        ids, mask = padded(texts)
        values = {"input_ids": ids, "attention_mask": mask, "position_ids": (mask.cumsum(axis=1) - 1).clip(0)}
        self._request.infer({name: value for name, value in values.items() if name in self._inputs})
        return last_token(self._request.get_output_tensor(0).data, mask)

    def versions(self) -> dict[str, str]:
        """See `Engine`."""
        return {library: version(library) for library in ("openvino", "optimum-intel", "nncf")}


if __name__ == "__main__":
    serve(OpenVino())
