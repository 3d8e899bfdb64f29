from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from worlds import World

from sessrec_pipeline.evaluation.evidence import GAINS, Evidence
from sessrec_pipeline.evaluation.metrics import metrics_table
from sessrec_pipeline.settings import EvaluationSettings

SETTINGS = EvaluationSettings(cutoffs=[3, 8], top_items=8, bootstrap_samples=100)


def test_predictions_stand_in_session_and_position_order(world: World) -> None:
    evidence = Evidence.of(world.rankings, SETTINGS)
    expected = [{name: row[name] for name in ("session", "position", "target")} for row in world.predictions("a")]
    assert evidence.predictions.to_pylist() == expected
    names = sorted({str(row["session"]) for row in expected})
    assert [names[number] for number in evidence.sessions] == [row["session"] for row in expected]
    assert evidence.n_sessions == len(names)


def test_the_mean_gain_is_the_metric(world: World) -> None:
    metrics = {
        (row["model"], row["metric"], row["k"], row["tie_rule"]): row["value"]
        for row in metrics_table(world.rankings, dict.fromkeys(world.rankings, ""), SETTINGS).to_pylist()
    }
    for rule in ("standard", "median", "conservative"):
        evidence = Evidence.of(world.rankings, SETTINGS.model_copy(update={"tie_rule": rule}))
        for model, gains in evidence.gains.items():
            assert gains.shape == (len(GAINS), 2, len(evidence.sessions))
            means = evidence.per_session(gains).sum(axis=0) / len(evidence.sessions)
            found = [metrics[model, metric, k, rule] for metric in GAINS for k in SETTINGS.cutoffs]
            np.testing.assert_allclose(means, found, atol=1e-12)


def test_no_predictions_are_no_evidence_and_no_error(tmp_path: Path) -> None:
    empty = pa.table({"session": pa.array([], pa.string()), "position": pa.array([], pa.int64()),
                      "target": pa.array([], pa.string()), "greater": pa.array([], pa.int64()),
                      "equal": pa.array([], pa.int64())})  # fmt: skip
    pq.write_table(empty, tmp_path / "m.parquet")
    assert Evidence.of({"m": tmp_path / "m.parquet"}, SETTINGS).n_sessions == 0


@pytest.mark.parametrize("change", [{"position": 99}, {"target": "another"}, {"session": "another"}])
def test_models_that_ranked_other_predictions_are_named(
    world: World, tmp_path: Path, change: dict[str, object]
) -> None:
    rows = world.predictions("b")
    rows[3] = rows[3] | change
    pq.write_table(pa.Table.from_pylist(rows, world.table("b").schema), tmp_path / "b.parquet")
    with pytest.raises(ValueError, match="materialize a_rankings, b_rankings again"):
        Evidence.of({"a": world.rankings["a"], "b": tmp_path / "b.parquet"}, SETTINGS)
