"""A .parquet file of vectors to which others are appended, if they are of the same space and in the same form.

A row of the corpus is new if its id is not in the file. A text that was changed under an id that
the file has is not noticed. The ids of the file are held in memory. This module knows nothing about texts or servers.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from ..errors import ContractMismatchError, InvalidInputError
from ..quantization import Calibration, Dtype, needs_calibration, stored_as
from ..vector_files import calibration_beside
from .description import read_description

# What must be equal in the descriptions of vectors in one file.
_SHARED = ("kind", "instruction", "prompt", "max_tokens", "special_tokens", "dimensions", "dtype")
_BATCH_ROWS = 4096


class ExistingVectors:
    """The vectors of a file that `qwen3-triton embed` wrote.

    Args:
        path: the .parquet file.
        key: the column of the vectors' keys that the output will have.
        vector_column: the column of the vectors.
        about: the description of the vectors that are to be appended.

    Attributes:
        keys: the keys that the file has.
        arithmetic: the `arithmetic` in its description.
        identity: what shows whether the file has changed.

    Raises:
        ContractMismatchError: the vectors are of another model, or it is not known of which.
        InvalidInputError: they are in another form, or the file is damaged.
        OSError: the file cannot be read.
    """

    def __init__(self, path: Path, *, key: pa.Field, vector_column: str, about: Mapping[str, object]) -> None:
        self.path = path
        status = path.stat()
        self.identity = {"bytes": status.st_size, "modified_ns": status.st_mtime_ns}
        self._description = _checked(path, about)
        self.arithmetic: str | None = self._description.get("arithmetic")
        dtype: Dtype = about["dtype"]  # type: ignore[assignment]
        stored, width = stored_as(dtype, dimensions=int(str(about["dimensions"])))
        wanted = pa.schema([key, pa.field(vector_column, pa.list_(pa.from_numpy_dtype(stored), width))])
        schema = parquet.read_schema(path)
        if not schema.equals(wanted, check_metadata=False):
            has = ", ".join(f"{field.name} ({field.type})" for field in schema)
            needs = ", ".join(f"{field.name} ({field.type})" for field in wanted)
            raise InvalidInputError(
                f"{path} has the columns {has}, but what is to be appended has {needs}; name the column of ids as in "
                "the run that wrote the file, or write another file"
            )
        self.calibration = _calibration(path) if needs_calibration(dtype) else None
        self.keys = frozenset(parquet.read_table(path, columns=[key.name])[0].to_pylist())

    def tables(self) -> Iterator[pa.Table]:
        """Yield the rows of the file, in their order."""
        with parquet.ParquetFile(self.path, pre_buffer=False) as file:
            for batch in file.iter_batches(_BATCH_ROWS):
                yield pa.Table.from_batches([batch])

    def has_taken(self, job: Path) -> bool:
        """Return whether a job's vectors are in the file already: the job was killed just after it had replaced it.

        Args:
            job: the file with the description of the job.
        """
        try:
            taken = json.loads(job.read_bytes()).get("append_to")
        except (AttributeError, OSError, ValueError):
            return False
        return taken is not None and taken == self._description.get("appended_to")


def _checked(path: Path, about: Mapping[str, object]) -> dict[str, Any]:
    """Return the description of a file, after comparing it with that of the vectors that are to be appended."""
    found = read_description(path)
    if found is None:
        raise ContractMismatchError(
            f"{path} does not say which model its vectors are of: another program wrote it, so nothing can be appended"
        )
    has, is_now = found.get("fingerprint"), about["fingerprint"]
    if None in (has, is_now):
        raise ContractMismatchError(
            f"{path} has the fingerprint {has}, and the served model {is_now}; without both, it is not known whether "
            "their vectors can be compared: export the model again with `qwen3-triton export --force`, and embed the "
            "whole corpus into a new file"
        )
    if has != is_now:
        raise ContractMismatchError(
            f"the vectors in {path} have the fingerprint {has}, but the served model has {is_now}: they cannot be "
            "compared; serve the model that they are of, or embed the whole corpus into a new file"
        )
    changes = [
        f"{name} was {found.get(name)!r}, is {about.get(name)!r}"
        for name in _SHARED
        if found.get(name) != about.get(name)
    ]
    if changes:
        raise InvalidInputError(
            f"the vectors in {path} are of another form: {'; '.join(changes)}. Give the options with which the file "
            "was written"
        )
    return found


def _calibration(path: Path) -> Calibration:
    beside = calibration_beside(path)
    if not beside.is_file():
        raise InvalidInputError(f"{beside}, the calibration of {path}, is missing; put it back beside the file")
    return Calibration.load(beside)
