"""Embed a corpus with Ray Data: many workers, Parquet in and out, and every row once whatever fails.

    python examples/ray_embed.py corpus/ vectors/ --url triton-a:8001,triton-b:8001 --workers 4
    python examples/ray_embed.py corpus/ vectors/ --model model_repository/qwen3_embedding --workers 4

The corpus is a .parquet file, or a folder of them, with a column `id` of unique ids and a column `text`. With `--url`,
workers send texts to Triton, and need `qwen3-triton[bulk]` and Ray. With `--model`, each worker runs an exported model
itself, on its CPUs, and needs `qwen3-triton[bulk,export,serve]`.

Run the same command again after the driver or a machine has failed: what is written is not embedded again.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import ray
from qwen3_client import Client, ClientOptions, Qwen3ClientError
from qwen3_client.integrations.ray import Qwen3Embedder
from qwen3_client.transports import FakeTransport
from ray.data.checkpoint import CheckpointConfig

ROWS = 512  # of a block, and of one call of a worker: what a failure costs


class InProcessEmbedder:
    """A worker that runs an exported model itself, with the engine that Triton's embedded host runs.

    Args:
        directory: the model directory.
        threads: threads of the model; 0 for all cores.
    """

    def __init__(self, directory: str, *, threads: int = 0) -> None:
        from qwen3_serve.host.packed_engine import PackedEngine, Settings

        config = read_config(directory)
        parameters = {name: value.get("string_value", "") for name, value in config["parameters"].items()}
        model = Path(directory) / "1" / "model.onnx"
        self._engine = PackedEngine(model, Settings.from_parameters(parameters), threads=threads)
        self._client = client_of(directory)

    def __call__(self, rows: pa.Table) -> pa.Table:
        """Return the rows with their vectors."""
        ids = self._client.tokenize(rows["text"].to_pylist(), kind="document")
        vectors = dict(zip(self._engine.outputs, self._engine.run(ids), strict=True))["embedding"]
        if not np.isfinite(vectors).all():
            raise ValueError("the model did not admit a text, or its arithmetic overflowed")
        lists = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])
        return rows.append_column("embedding", lists)


def client_of(directory: str) -> Client:
    """Return a client that knows the model of a directory and its tokenizer, and has no server to send anything to."""
    return Client(transport=FakeTransport(configs=[read_config(directory)]), tokenizer=directory)


def read_config(directory: str) -> dict[str, Any]:
    """Return the configuration of an exported model, for its embedded host, as Triton would return it."""
    from google.protobuf.json_format import MessageToDict
    from qwen3_export.model_directory import triton_config

    config = triton_config.read_config(Path(directory) / "configs" / "embedded.pbtxt")
    # Triton gives a model the name of its directory.
    return {**MessageToDict(config, preserving_proto_field_name=True), "name": Path(directory).resolve().name}


def main(arguments: Sequence[str] | None = None) -> int:
    """Embed the corpus; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("corpus", help="a .parquet file, or a folder of them, with the columns id and text")
    parser.add_argument("output", type=Path, help="folder for the vectors, which all workers can reach")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--url", default="localhost:8001", help="the servers (default: %(default)s)")
    source.add_argument("--model", help="a model directory, which all workers can reach, in place of servers")
    parser.add_argument("--workers", type=int, default=2, help="number of actors (default: %(default)s)")
    args = parser.parse_args(arguments)
    try:
        with client_of(args.model) if args.model else Client(args.url) as client:
            fingerprint = client.info().fingerprint
        check_fingerprint(args.output, fingerprint)
    except (OSError, Qwen3ClientError) as error:
        print(error, file=sys.stderr)
        return 1
    ray.init(ignore_reinit_error=True)
    if args.model:
        worker: dict[str, Any] = {"fn": InProcessEmbedder, "fn_constructor_args": (str(Path(args.model).resolve()),)}
        worker |= {"fn_constructor_kwargs": {"threads": 1}, "num_cpus": 1}
        if (cpus := ray.cluster_resources().get("CPU", 0)) <= args.workers:
            # Ray would wait for ever.
            print(
                f"Ray has {cpus:g} CPUs, one of which must be left to read and write: name fewer --workers",
                file=sys.stderr,
            )
            return 1
    else:
        options = ClientOptions(args.url, expected_fingerprint=fingerprint)  # no worker adds vectors of another model
        worker = {"fn": Qwen3Embedder, "fn_constructor_args": (options,), "num_cpus": 0.1}  # it waits for the servers
    embed(args.corpus, args.output.resolve(), worker=worker, workers=args.workers)
    return 0


def check_fingerprint(output: Path, fingerprint: str | None) -> None:
    """Keep the fingerprint beside the vectors, and refuse a folder that has vectors of another model."""
    about = output / "_about.json"  # readers of a folder of Parquet ignore names that begin with an underscore
    output.mkdir(parents=True, exist_ok=True)
    if about.exists() and (kept := json.loads(about.read_text("utf-8"))["fingerprint"]) != fingerprint:
        raise OSError(f"{output} has vectors of another model ({kept}, not {fingerprint}): name another folder")
    about.write_text(json.dumps({"fingerprint": fingerprint}), "utf-8")


def embed(corpus: str, output: Path, *, worker: dict[str, Any], workers: int) -> None:
    """Embed what is not embedded yet."""
    context = ray.data.DataContext.get_current()
    context.checkpoint_config = CheckpointConfig(
        id_column="id", checkpoint_path=str(output / "_done"), delete_checkpoint_on_success=False
    )
    (
        ray.data.read_parquet(corpus, columns=["id", "text"])
        # Ray merges small files into one block, which one actor embeds alone, and of which nothing is written before
        # its end.
        .repartition(target_num_rows_per_block=ROWS)
        .map_batches(
            **worker,
            batch_size=ROWS,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=workers),
            max_restarts=-1,
            max_task_retries=-1,
        )
        .drop_columns(["text"])
        .write_parquet(str(output))
    )


if __name__ == "__main__":
    sys.exit(main())
