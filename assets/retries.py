"""What may pass by itself is tried again, later and later; then the failure stands until something changes.

A full disk, a network drive that is away, a warehouse that somebody has open: the next minute may be better. Logs that
cannot be read, settings that fit no data and faults of the code stay as they are, and fail at once. After the last try
nothing tries again by itself: the rebuild sensor asks for an asset once per change of content or code.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec, TypeVar

import dagster as dg
import duckdb

from sessrec_pipeline.storage.owners import BusyError

WAITS = (2.0, 10.0, 50.0)
"""Seconds before the second, third and fourth try of a step."""
PASSING = (OSError, duckdb.IOException, BusyError)


@contextmanager
def tried_again(tries: int) -> Iterator[None]:
    """Around a part of a step that was tried so often before: ask Dagster for another try where that may help."""
    try:
        yield
    except PASSING as error:
        if tries >= len(WAITS):
            raise
        raise dg.RetryRequested(max_retries=len(WAITS), seconds_to_wait=WAITS[tries]) from error


P = ParamSpec("P")
R = TypeVar("R")


def retried(compute: Callable[P, R]) -> Callable[P, R]:
    """Under ``@dg.asset``: the whole of an asset's work is ``tried_again``."""

    @wraps(compute)
    def attempt(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            tries = dg.AssetExecutionContext.get().retry_number
        except dg.DagsterInvariantViolationError:  # called as a plain function, by no step that could be tried again
            return compute(*args, **kwargs)
        with tried_again(tries):
            return compute(*args, **kwargs)

    return attempt
