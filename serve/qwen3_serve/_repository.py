"""What a model repository holds: which models are exported and can be served."""

from pathlib import Path

from ._errors import ServeError


def exported_models(repository: Path) -> list[str]:
    """Names of the exported models in a repository, sorted.

    Raises:
        ServeError: The folder is missing or nothing is exported into it.
    """
    option = "" if repository == Path("model_repository") else f" --repository {repository}"
    advice = f"qwen3-triton export Qwen/Qwen3-Embedding-0.6B{option} (or `tiny` for it, to try without weights)"
    if not repository.is_dir():
        raise ServeError(f"there is no model repository {repository}; make it with: {advice}")
    names = sorted(path.parent.name for path in repository.glob("[!.]*/config.pbtxt") if _has_weights(path.parent))
    if not names:
        raise ServeError(f"{repository} holds no exported model yet; make one with: {advice}")
    return names


def _has_weights(model: Path) -> bool:
    return any(version.parent.name.isdecimal() for version in model.glob("*/model.onnx"))
