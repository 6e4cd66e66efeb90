"""Corpora of any size: read in blocks, embedded, and written, so that a killed run can go on.

`_bulk_command` is the whole of it: `_corpus` reads, `_pipeline` embeds, `_parts` keeps what is finished, `_output`
joins it.
"""

__all__: list[str] = []
