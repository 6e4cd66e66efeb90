"""Corpora of any size: read in blocks, embedded, and written, so that a killed run can go on.

`corpus` reads, `pipeline` embeds, `parts` keeps what is finished, `output` joins it; `cli.embed_corpus` is the command.
"""
