"""What may pass by itself is tried again, later and later; then the failure stands until something changes.

A full disk, a network drive that is away, a warehouse that somebody has open: the next minute may be better. Logs that
cannot be read, settings that fit no data and faults of the code stay as they are, and fail at once. After the last try
nothing tries again by itself: the rebuild sensor asks for an asset once per change of content or code.

Whatever ends a step, the terminal, the UI and the alerts have it as one sentence.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from inspect import isgeneratorfunction
from typing import Any, ParamSpec, TypeVar, cast

import dagster as dg
import duckdb

from sessrec_pipeline.failures import sentence_of
from sessrec_pipeline.storage.owners import BusyError

WAITS = (2.0, 10.0, 50.0)
"""Seconds before the second, third and fourth try of a step."""
PASSING = (OSError, duckdb.IOException, BusyError)


@contextmanager
def in_words() -> Iterator[None]:
    """Around a step, or a part of it: what is raised is a ``dg.Failure`` with the sentence, from the error itself."""
    try:
        yield
    except (dg.Failure, dg.RetryRequested):
        raise
    except Exception as error:
        raise dg.Failure(sentence_of(error)) from error


@contextmanager
def tried_again(tries: int) -> Iterator[None]:
    """Around a part of a step that was tried so often before: ask Dagster for another try where that may help."""
    try:
        with in_words():
            yield
    except dg.Failure as failure:
        if not isinstance(failure.__cause__, PASSING) or tries >= len(WAITS):
            raise
        raise dg.RetryRequested(max_retries=len(WAITS), seconds_to_wait=WAITS[tries]) from failure


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


def told(check: Callable[P, R]) -> Callable[P, R]:
    """Under ``@dg.asset_check`` and ``@dg.multi_asset_check``: what ends the check is told ``in_words``."""

    @wraps(check)
    def one(*args: P.args, **kwargs: P.kwargs) -> R:
        with in_words():
            return check(*args, **kwargs)

    @wraps(check)
    def several(*args: P.args, **kwargs: P.kwargs) -> Iterator[Any]:
        with in_words():
            yield from cast(Any, check(*args, **kwargs))

    return cast(Callable[P, R], several) if isgeneratorfunction(check) else one
