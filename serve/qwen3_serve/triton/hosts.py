"""The host processes: one per version of a model, which Triton starts and does not start again if it is killed.

A host holds the weights, so it is the process that Linux kills when memory runs out. Triton then either crashes, or
goes on, reports the model as ready, and refuses every request for it. `HostWatch` ends Triton in both cases, so that a
supervisor can start the server again. A host that ends because its version was unloaded has no such effect. This module
knows Linux's `/proc`, and nothing about requests.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

_POLL_S = 0.5
_STUB = "triton_python_backend_stub"
_STUB_NAME = _STUB[:15]  # as Linux names a process in /proc/<pid>/stat


@dataclass(frozen=True, slots=True, order=True, kw_only=True)
class Host:
    """A host, named by what it runs.

    Attributes:
        model: The model's name.
        version: The version's number.
    """

    model: str
    version: str


class HostWatch:
    """Watches the hosts of one Triton until `stop` is called.

    Args:
        triton: Process id of Triton.
        loaded: The hosts that loaded their models and their process ids, from `HostsAtStart`.
        is_wanted: Returns whether Triton means to serve a host's version; False once Triton unloads it, None while it
            does not say. It is asked again then.
        end: Terminates Triton.
    """

    def __init__(
        self,
        triton: int,
        *,
        loaded: Mapping[Host, int],
        is_wanted: Callable[[Host], bool | None],
        end: Callable[[], None],
    ) -> None:
        self._triton = triton
        self._is_wanted = is_wanted
        self._end = end
        self._alive = dict(loaded)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="qwen3-host-watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop watching. Call this before Triton is stopped, because its hosts then end too."""
        self._stopped.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stopped.wait(_POLL_S):
            now = hosts(self._triton)
            missed = {host: pid for host, pid in self._alive.items() if host not in now and not _has_ended(pid)}
            # A version that is reloaded has two hosts until the new one is ready, so it always has one.
            ended = sorted(self._alive.keys() - now.keys() - missed.keys())
            wanted = {host: self._is_wanted(host) for host in ended}
            if gone := [host for host in ended if wanted[host]]:
                names = ", ".join(f"{host.model}, version {host.version}," for host in gone)
                print(  # noqa: T201 - for the operator
                    f"qwen3-triton serve: the process of {names} was killed (out of memory?)",
                    file=sys.stderr,
                    flush=True,
                )
                self._end()
                return
            unknown = {host: self._alive[host] for host in ended if wanted[host] is None}
            self._alive = now | missed | unknown


class HostsAtStart:
    """Finds out that a host ended before its model was loaded. Triton itself would wait forever.

    Args:
        triton: Process id of Triton.
    """

    def __init__(self, triton: int) -> None:
        self._triton = triton
        self._known: dict[int, Host] = {}  # by process id

    def loaded(self) -> dict[Host, int]:
        """Return the hosts that were seen so far, with their process ids."""
        self._known |= dict(_processes(self._triton))
        return {host: pid for pid, host in self._known.items()}

    def ended(self) -> list[str] | None:
        """Return the models whose hosts ended, without those that ended before they were seen; None if none ended."""
        self._known |= dict(_processes(self._triton))
        gone = [pid for pid in self._known if _has_ended(pid)]
        if not gone and not any(_is_dead_host(pid) for pid in _children(self._triton)):
            return None
        return sorted({self._known[pid].model for pid in gone})


def hosts(triton: int) -> dict[Host, int]:
    """Return the hosts of a Triton that are running, with their process ids.

    A model with several instances has a process for each, of which one is returned.
    """
    return {host: pid for pid, host in _processes(triton)}


def _processes(triton: int) -> Iterator[tuple[int, Host]]:
    """Yield the process id of every running host of a Triton, and the host."""
    for pid in _children(triton):
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:  # the process has ended
            continue
        # "…/triton_python_backend_stub /repository/<model>/1/model.py …"; empty for a zombie
        if os.fsdecode(command[0]).endswith(_STUB):
            folder = Path(os.fsdecode(command[1])).parent
            yield pid, Host(model=folder.parent.name, version=folder.name)


def _children(triton: int) -> Iterator[int]:
    """Yield the processes that Triton's threads started; one may be missed if its thread ends meanwhile."""
    for children in Path(f"/proc/{triton}/task").glob("*/children"):
        try:
            yield from [int(pid) for pid in children.read_text().split()]
        except OSError:  # the thread has ended
            continue


def _is_dead_host(pid: int) -> bool:
    """Return whether a process is a host that ended and that Triton has not waited for yet: a zombie."""
    name, state = _status(pid)
    return name == _STUB_NAME and state == "Z"


def _has_ended(pid: int) -> bool:
    return _status(pid)[1] in ("", "Z")


def _status(pid: int) -> tuple[str, str]:
    """Return a process's name and its state as one letter; both empty if there is no such process."""
    try:
        # "1234 (triton_python_b) Z …"
        name, _, state = Path(f"/proc/{pid}/stat").read_text().partition("(")[2].rpartition(") ")
    except OSError:
        return "", ""
    return name, state[:1]
