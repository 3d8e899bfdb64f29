"""GRU4Rec without torch: the same scores up to the rounding of float32."""

import subprocess
import sys

import numpy as np
import pytest

from sessrec_pipeline.evaluation.memory import bytes_held
from sessrec_pipeline.models.base import Sessions
from sessrec_pipeline.models.gru4rec.network import GRU4Rec, initial_weights
from sessrec_pipeline.models.gru4rec.on_cpu import FEW, GRU4RecOnCPU
from sessrec_pipeline.models.gru4rec.settings import GRU4RecSettings

N_ITEMS = 40
SESSIONS = Sessions.from_lists([[1], [2, 3, 2, 39], [5, 5, 5], [0, 7]])


def weights(settings: GRU4RecSettings) -> dict[str, np.ndarray]:
    drawn = {name: tensor.numpy() for name, tensor in initial_weights(settings, N_ITEMS).items()}
    random = np.random.default_rng(3)  # biases too, which begin at zero
    return {name: array + random.normal(0, 0.5, array.shape).astype(np.float32) for name, array in drawn.items()}


@pytest.mark.parametrize("embedding", ["shared", "separate", "none"])
@pytest.mark.parametrize("layers", [[12], [16, 12]])
def test_few_sessions_are_scored_as_by_torch(embedding: str, layers: list[int]) -> None:
    settings = GRU4RecSettings.model_validate({"embedding": embedding, "layers": layers})
    arrays = weights(settings)
    few, network = GRU4RecOnCPU(settings, N_ITEMS, arrays), GRU4Rec.from_weights(settings, N_ITEMS, arrays)
    assert len(SESSIONS) <= FEW
    scores = few.score_last(SESSIONS)
    assert scores.dtype == np.float32 and scores.shape == (len(SESSIONS), N_ITEMS)
    np.testing.assert_allclose(scores, network.score_last(SESSIONS), rtol=1e-5, atol=1e-5)
    candidates = np.array([[3, 0], [39, 3], [7, 8], [1, 1]])
    np.testing.assert_allclose(
        few.score_candidates(SESSIONS, candidates), network.score_candidates(SESSIONS, candidates), rtol=1e-5, atol=1e-5
    )
    np.testing.assert_array_equal(few.top([2, 3], 5)[0], network.top([2, 3], 5)[0])
    np.testing.assert_array_equal(few.item_vectors(), network.item_vectors())


def test_many_sessions_are_scored_by_torch_to_the_bit() -> None:
    settings = GRU4RecSettings(layers=[12])
    few = GRU4RecOnCPU(settings, N_ITEMS, weights(settings))
    network = GRU4Rec.from_weights(settings, N_ITEMS, weights(settings))
    held = bytes_held(few)
    many = Sessions.from_lists([[i, i + 1] for i in range(FEW + 1)])
    np.testing.assert_array_equal(few.score_last(many), network.score_last(many))
    assert all(
        (own == other).all() for (_, own), (_, other) in zip(few.score(many, 4), network.score(many, 4), strict=True)
    )
    assert bytes_held(few) == held == bytes_held(network), "the weights are in memory once"


def test_arrays_that_do_not_fit_are_refused() -> None:
    settings = GRU4RecSettings(layers=[12])
    with pytest.raises(ValueError, match="must have shape"):
        GRU4RecOnCPU(settings, N_ITEMS + 1, weights(settings))
    with pytest.raises(ValueError, match=r"item indices must be 0 \.\. 39"):
        GRU4RecOnCPU(settings, N_ITEMS, weights(settings)).top([N_ITEMS], 3)


def test_one_session_needs_no_torch() -> None:
    code = (
        "import sys, numpy as np\n"
        "from sessrec_pipeline.models.gru4rec import CARD\n"
        "arrays = {'items': np.eye(4, dtype=np.float32), 'item_bias': np.zeros(4, np.float32),\n"
        "  'layer0.input': np.ones((4, 12), np.float32), 'layer0.state': np.ones((4, 8), np.float32),\n"
        "  'layer0.candidate': np.ones((4, 4), np.float32), 'layer0.bias': np.zeros(12, np.float32)}\n"
        "CARD.load(arrays, CARD.settings(layers=[4]), list('abcd'), 'cpu').top([1, 2], 2)\n"
        "print([name for name in ('torch', 'dagster', 'pandas', 'numba') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
