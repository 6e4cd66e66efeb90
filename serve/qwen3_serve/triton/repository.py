"""The exported models of a model repository."""

from pathlib import Path

from qwen3_export.model_directory.manifest import read_manifest
from qwen3_export.model_directory.repository import exported_models as models_of
from qwen3_export.model_directory.repository import model_around

from ..errors import ServeError


def exported_models(repository: Path) -> list[str]:
    """Return the names of the exported models in a repository, sorted.

    Raises:
        ServeError: The folder is missing, or holds no exported model.
    """
    option = "" if repository == Path("model_repository") else f" --repository {repository}"
    advice = f"qwen3-triton export Qwen/Qwen3-Embedding-0.6B{option} (or `demo`, a small one, to try it out)"
    if not repository.is_dir():
        raise ServeError(f"there is no model repository {repository}; create it with: {advice}")
    if model := model_around(repository):
        raise ServeError(f"{repository} belongs to one model; give --repository {model.parent}")
    names = [model.name for model in models_of(repository) if (model / "config.pbtxt").is_file()]
    if not names:
        raise ServeError(f"{repository} holds no exported model yet; export one with: {advice}")
    return names


def check_config(repository: Path, models: list[str], config_name: str | None) -> None:
    """Check that every model has a configuration for this Triton, and that the embedded host can run it here.

    Args:
        repository: The model repository.
        models: The models' names.
        config_name: The name of the configuration that fits this Triton's backends; None for config.pbtxt.

    Raises:
        ServeError: A model was exported by an earlier release, or for a GPU that the installed onnxruntime cannot use.
    """
    if config_name is None:  # Triton's own backend runs them
        return
    from qwen3_export.cuda import INSTALL, has_provider  # imports numpy, which `--help` does without

    for name in models:
        path = repository / name / "configs" / f"{config_name}.pbtxt"
        if not path.is_file():
            raise ServeError(
                f"{repository / name} has no {path.name}: an earlier release exported it; export it again with --force"
            )
        if read_manifest(repository / name).get("device") == "cuda" and not has_provider():
            raise ServeError(
                f"{repository / name} was exported for CUDA, and the installed onnxruntime runs on CPUs only. On a "
                f"machine with an NVIDIA GPU, replace it ({INSTALL}), or run Triton's container (docs/docker.md); "
                "without a GPU, export the model again with --device cpu"
            )
