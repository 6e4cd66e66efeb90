"""The names of a served model.

Each API has its own name for the same checkpoint: Hugging Face's `Qwen/Qwen3-Embedding-8B`, Ollama's
`qwen3-embedding:8b`, OpenRouter's `qwen/qwen3-embedding-8b`. Pure functions; nothing here asks a server.
"""

import re

from qwen3_client import ModelInfo, RerankerInfo

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def public_name(info: ModelInfo | RerankerInfo) -> str:
    """Return the name under which the APIs list a model: its Hub id, or its name on Triton where it has none."""
    return info.source if _HUB_ID.fullmatch(info.source) else info.name


def ollama_name(info: ModelInfo | RerankerInfo) -> str:
    """Return the name under which Ollama's API lists a model, such as `qwen3-embedding:8b`."""
    return f"{info.model_family}:{info.model_size}".lower()


def is_name_of(name: str, info: ModelInfo | RerankerInfo, *, aliases: tuple[str, ...] = ()) -> bool:
    """Return whether a request that gives this name asks for this model.

    Case does not matter, nor does the owner of the repository: `anyone/Qwen3-Embedding-8B` is the 8B model. Another
    size, or a tag that names a quantization, is another model.

    Args:
        name: The name in the request.
        info: What the model says about itself.
        aliases: Further names for the model.
    """
    family, size = info.model_family.lower(), info.model_size.lower()
    known = {
        info.name.lower(),
        info.name.lower().replace("_", "."),  # litellm's nvidia_nim/ writes dots for underscores
        info.source.lower(),
        _last_part(info.source).lower(),
        f"{family}-{size}",
        family,
        f"{family}:{size}",
        *(alias.lower() for alias in aliases),
    }
    name = name.lower().removesuffix(":latest")  # Ollama's clients append it to a name without a tag
    return name in known or _last_part(name) in known


def _last_part(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2]
