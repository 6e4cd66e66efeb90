"""What `export` would write of a checkpoint, without reading its weights."""

from .inspection import Files, Inspection, inspect_source

__all__ = ["Files", "Inspection", "inspect_source"]
