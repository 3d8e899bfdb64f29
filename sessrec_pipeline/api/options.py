"""Keyword arguments that are settings, the device, and progress."""

import difflib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, TypeVar

import numpy as np
from pydantic import ValidationError

from sessrec_pipeline.models.base import Card
from sessrec_pipeline.settings import ComputeSettings, Section, SettingsError
from sessrec_pipeline.settings.base import in_words
from sessrec_pipeline.training.device import Compute, DeviceError

Device = Literal["auto", "cpu", "cuda"]
Told = Callable[[int, int], None]
Progress = bool | Told
"""True for a bar, False for none, or a function that is told how many units are done, and of how many."""
S = TypeVar("S", bound=Section)


def validated(kind: type[S], values: Mapping[str, Any], owner: str) -> S:
    """Settings of ``kind`` from keyword arguments of ``owner``; SettingsError with a sentence for what is wrong."""
    for name in values:
        if name not in kind.model_fields:
            near = difflib.get_close_matches(name, kind.model_fields, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise SettingsError(
                f"{owner} has no setting {name!r}{hint}" + ("" if near else f"; it has {', '.join(kind.model_fields)}")
            )
    plain = {name: value.item() if isinstance(value, np.generic) else value for name, value in values.items()}
    try:
        return kind.model_validate(plain)
    except ValidationError as error:
        problems = [
            f"{owner}: {'.'.join(str(part) for part in problem['loc']) or 'settings'} = {problem['input']!r}: "
            f"{in_words(problem)}"
            for problem in error.errors()
        ]
        raise SettingsError("\n".join(problems)) from None


@contextmanager
def computing(card: Card[Any], device: Device) -> Iterator[str]:
    """The device that a model runs on; torch has one thread meanwhile, as in the graph, and its own number afterwards.

    DeviceError where a GPU is asked for and there is none.
    """
    if not card.gpu:
        yield "cpu"
        return
    import torch  # noqa: PLC0415 - only networks need it

    threads = torch.get_num_threads()
    try:
        found = Compute(ComputeSettings(device=device)).device()
    except DeviceError as error:
        raise DeviceError('device="cuda", but torch sees no GPU: fix the driver, or take "auto" or "cpu"') from error
    try:
        yield found
    finally:
        torch.set_num_threads(threads)


@contextmanager
def reporting(progress: Progress, title: str) -> Iterator[Told]:
    """What is told the progress: the caller's function, a bar (a widget in notebooks), or nobody."""
    if callable(progress):
        yield progress
    elif not progress:
        yield lambda done, total: None
    else:
        from tqdm.auto import tqdm  # noqa: PLC0415 - looks for a notebook when it is imported

        with tqdm(desc=title, unit="event", unit_scale=True) as bar:

            def update(done: int, total: int) -> None:
                bar.total = total
                bar.update(done - bar.n)

            yield update
