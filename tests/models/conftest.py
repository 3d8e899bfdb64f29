"""Models are tested on one thread: on kernels this small more of them only wait for each other."""

import pytest

from sessrec_pipeline.models.gru4rec import network


@pytest.fixture(autouse=True, scope="module")
def _one_thread(one_thread: None) -> None:
    pass


@pytest.fixture(autouse=True)
def few_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions follow one another in a slot wherever there are more of them than a batch has rows.

    With the slots that save time, the few sessions of a test would each have one, and no fault of the carrying on of
    states would show.
    """
    monkeypatch.setattr(network, "SLOTS", 1)
