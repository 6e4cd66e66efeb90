"""Which requests of a batch can be answered, while its texts run. Knows neither Triton nor engines."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate


class BatchProgress:
    """The texts of a batch's requests, which follow one another, and which of them are still to run.

    Args:
        sizes: The number of texts of each request, at least 1.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        self._request_of = [request for request, size in enumerate(sizes) for _ in range(size)]
        self._rows = [slice(end - size, end) for size, end in zip(sizes, accumulate(sizes), strict=True)]
        self._to_run = list(sizes)

    @property
    def is_complete(self) -> bool:
        """Whether all texts have run."""
        return not any(self._to_run)

    def finish(self, texts: Sequence[int]) -> list[tuple[int, slice]]:
        """Note that texts have run.

        Args:
            texts: Their indices in the batch, none of which was given before.

        Returns:
            The requests whose last text is among them: the index of each, and its rows in the results.
        """
        finished = []
        for text in texts:
            request = self._request_of[text]
            self._to_run[request] -= 1
            if self._to_run[request] == 0:
                finished.append((request, self._rows[request]))
        return finished
