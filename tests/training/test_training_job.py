"""A training job is in its folder as it was written, and nothing of an earlier one is taken for its result."""

from pathlib import Path

import numpy as np
import pytest

from sessrec_pipeline.models.base import Sessions
from sessrec_pipeline.models.gru4rec.network import initial_weights
from sessrec_pipeline.models.gru4rec.settings import GRU4RecSettings
from sessrec_pipeline.settings import ComputeSettings
from sessrec_pipeline.training.job import (
    FAILED,
    STATE,
    TRAINED,
    TrainingJob,
    read_job,
    write_job,
)

CONFIG = GRU4RecSettings(layers=[4], n_sample=8, loss="cross-entropy")


@pytest.mark.parametrize("warm", [False, True])
def test_a_job_comes_back(tmp_path: Path, warm: bool) -> None:
    initial = {name: tensor.numpy() for name, tensor in initial_weights(CONFIG, 9).items()}
    sessions = Sessions.from_lists([[3, 1, 8], [0], [2, 2]])
    compute = ComputeSettings(device="cpu", threads=2)
    job = TrainingJob("gru4rec", sessions, 9, CONFIG, initial if warm else None, compute, "k")
    write_job(tmp_path / "job", TrainingJob("gru4rec", sessions, 9, CONFIG, initial, ComputeSettings(), "earlier"))
    write_job(tmp_path / "job", job)
    again = read_job(tmp_path / "job")
    assert (again.model, again.n_items, again.settings) == ("gru4rec", 9, CONFIG)
    assert (again.compute, again.key) == (compute, "k")
    for ours, theirs in ((again.sessions.items, sessions.items), (again.sessions.offsets, sessions.offsets)):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)
    assert (again.initial is not None) == warm
    for name, array in (again.initial or {}).items():
        np.testing.assert_array_equal(array, initial[name])


def test_results_of_an_earlier_job_go_and_its_state_stays(tmp_path: Path) -> None:
    for name in (TRAINED, FAILED, STATE):
        (tmp_path / name).write_text("earlier")
    write_job(tmp_path, TrainingJob("gru4rec", Sessions.from_lists([[1, 0]]), 2, CONFIG, None, ComputeSettings(), "k"))
    assert not (tmp_path / TRAINED).exists() and not (tmp_path / FAILED).exists()
    assert (tmp_path / STATE).exists(), "its key says whether training may go on from it"
