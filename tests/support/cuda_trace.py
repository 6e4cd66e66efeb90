"""The trace that the stub libraries of CUDA write, cut into batches and counted."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_ATTENTION = re.compile(r"flash_fwd|fmha|attention_kernel", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Trace:
    """What one batch did.

    Attributes:
        events: One line each: `kernel X Y Z NAME`, `product M N K TYPE`, `fill BYTES`, `copy KIND BYTES HOW`,
            `wait WHAT`, `call NAME`.
    """

    events: Sequence[str]

    @property
    def launches(self) -> int:
        """Kernels, matrix products and fills."""
        return sum(event.startswith(("kernel ", "product ", "fill ")) for event in self.events)

    @property
    def waits(self) -> int:
        """How often the processor waits for the GPU."""
        return sum(event.startswith("wait ") or event.endswith(" waits") for event in self.events)

    @property
    def cudnn_calls(self) -> list[str]:
        """The functions of cuDNN that were called."""
        return [event.split()[1] for event in self.events if event.startswith("call cudnn")]

    def copies(self, kind: str) -> list[int]:
        """Return the sizes in bytes of all copies of a kind, such as `device-to-host`."""
        return [int(event.split()[2]) for event in self.events if event.startswith(f"copy {kind} ")]

    @property
    def attention(self) -> list[tuple[int, int, int]]:
        """The grid of each layer's attention kernel."""
        return [_grid(self.events[index]) for index in self._attention_indices]

    @property
    def layer(self) -> "Trace":
        """What happened from the second layer's attention to the third's; what follows the first prepares for all."""
        _, second, third, *_ = self._attention_indices
        return Trace(self.events[second:third])

    @property
    def launched(self) -> list[str]:
        """The names of all kernels, `product` for a matrix product."""
        launches = [event.split(maxsplit=4) for event in self.events if event.startswith(("kernel ", "product "))]
        return [words[4] if words[0] == "kernel" else "product" for words in launches]

    @property
    def _attention_indices(self) -> list[int]:
        return [i for i, event in enumerate(self.events) if event.startswith("kernel ") and _ATTENTION.search(event)]


def read_traces(path: Path) -> list[Trace]:
    """Return the trace of each batch in the file."""
    return [Trace(part.splitlines()[1:]) for part in re.findall(r"mark batch.*?(?=mark end)", path.read_text(), re.S)]


def _grid(event: str) -> tuple[int, int, int]:
    x, y, z = map(int, event.split()[1:4])
    return x, y, z
