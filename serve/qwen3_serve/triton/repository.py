"""The exported models of a model repository."""

from pathlib import Path

from qwen3_export.model_directory.repository import exported_models as models_of
from qwen3_export.model_directory.repository import model_around

from ..errors import ServeError


def exported_models(repository: Path) -> list[str]:
    """Return the names of the exported models in a repository, sorted.

    Raises:
        ServeError: The folder is missing, or holds no exported model.
    """
    option = "" if repository == Path("model_repository") else f" --repository {repository}"
    advice = f"qwen3-triton export Qwen/Qwen3-Embedding-0.6B{option} (or `tiny`, a small random model, to try it out)"
    if not repository.is_dir():
        raise ServeError(f"there is no model repository {repository}; create it with: {advice}")
    if model := model_around(repository):
        raise ServeError(f"{repository} belongs to one model; give --repository {model.parent}")
    names = [model.name for model in models_of(repository) if (model / "config.pbtxt").is_file()]
    if not names:
        raise ServeError(f"{repository} holds no exported model yet; export one with: {advice}")
    return names


def check_config(repository: Path, models: list[str], config_name: str | None) -> None:
    """Check that every model has a configuration for this Triton.

    Raises:
        ServeError: One was exported for a Triton with other backends.
    """
    for name in models:
        if config_name is not None and not (repository / name / "configs" / f"{config_name}.pbtxt").is_file():
            raise ServeError(
                f"{repository / name} was exported for CUDA, and the Triton that comes with serve runs on CPUs only. "
                "Run it in NVIDIA's container, nvcr.io/nvidia/tritonserver (see docs/docker.md), or export it "
                "again with --device cpu"
            )
