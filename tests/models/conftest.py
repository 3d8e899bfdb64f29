"""Models are tested on one thread: on kernels this small more of them only wait for each other."""

from collections.abc import Iterator

import pytest
import torch

from sessrec_pipeline.models import gru4rec


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def few_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions follow one another in a slot wherever there are more of them than a batch has rows.

    With the slots that save time, the few sessions of a test would each have one, and no fault of the carrying on of
    states would show.
    """
    monkeypatch.setattr(gru4rec, "SLOTS", 1)
