"""Embedding corpora of any size, in blocks, so that a run that was killed can be resumed.

`corpus` reads blocks, `pipeline` embeds them, `unfinished` and `parts` keep what is finished, and `output` writes the
result. `cli.embed_corpus` is the command.
"""
