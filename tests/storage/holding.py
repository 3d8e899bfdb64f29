"""Other processes that hold something, for as long as a block lasts."""

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def holding(command: Sequence[str], cwd: Path | None = None) -> Iterator["subprocess.Popen[str]"]:
    """A process that says "held" once it holds what it is to hold; killed at the end."""
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=cwd)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    try:
        yield process
    finally:
        process.kill()
        process.communicate()
