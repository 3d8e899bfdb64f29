"""The laboratory works with the pipeline's own functions and leaves no trace."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from small_feed import Feed

from sessrec_pipeline.feed import cards_of
from sessrec_pipeline.settings import StudySettings, TrainingSettings
from sessrec_pipeline.storage.files import leave
from sessrec_pipeline.studies.laboratory import Laboratory, of_two_or_more, renumbered, studied_models
from sessrec_pipeline.training.device import Compute


def contents(home: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in home.rglob("*") if path.is_file()}


def test_fits_what_the_pipeline_fits_and_leaves_no_trace(small: Feed) -> None:
    leave()
    before = contents(small.settings.home)
    with small.laboratory() as lab:
        models = [card.name for card in cards_of(small.settings)]
        fitted = lab.fit(lab.put("train_split", small.stored["train_split"].path), models)
        assert list(fitted) == models
        for name in models:
            ranked = lab.rank(fitted[name], small.stored["test_split"].arrow()).select(["greater", "equal"])
            assert ranked.equals(small.stored[f"{name}_rankings"].arrow(["greater", "equal"])), name
        assert lab.settings.home.is_relative_to(small.settings.scratch)
        assert contents(lab.settings.home)
    leave()
    assert contents(small.settings.home) == before
    assert not list(small.settings.scratch.iterdir())


def test_leaves_no_trace_when_it_fails(small: Feed) -> None:
    with pytest.raises(ZeroDivisionError), small.laboratory() as lab:
        lab.put("train_split", small.stored["train_split"].path)
        raise ZeroDivisionError
    leave()
    assert not list(small.settings.scratch.iterdir())


def test_ranks_and_measures_as_the_feed_does(small: Feed) -> None:
    with small.laboratory() as lab:
        train = lab.put("train_split", small.stored["train_split"].path)
        rows = lab.run(train, small.stored["test_split"].arrow(), ["markov"], variation="all")
        counts = small.stored["markov_rankings"].arrow()
        ranks = counts["greater"].to_numpy() + counts["equal"].to_numpy()
        assert [row["metric"] for row in rows] == ["recall", "mrr"]
        assert rows[0]["value"] == pytest.approx((ranks <= 5).mean())
        assert rows[1]["value"] == pytest.approx(((ranks <= 5) / ranks).mean())
        assert rows[0]["train_sessions"] == small.stored["train_split"].stats["sessions"]


def test_models_are_the_counted_ones_unless_settings_say_otherwise(small: Feed) -> None:
    def chosen(**studies: object) -> list[str]:
        own = StudySettings(**studies)  # type: ignore[arg-type]
        return studied_models(small.settings.model_copy(update={"studies": own}))

    counted = [card.name for card in cards_of(small.settings) if card.name not in ("gru4rec", "oracle")]
    assert chosen() == counted and {"popularity", "markov"} <= set(counted)
    assert set(chosen(trained=True)) == {*counted, "gru4rec"}
    assert chosen(models=["markov"], trained=True) == ["markov", "gru4rec"]
    with pytest.raises(ValueError, match="names 'bert'; this feed has popularity"):
        chosen(models=["bert"])


def test_sessions_are_numbered_anew() -> None:
    events = pa.table({"session_number": pa.array([2, 2, 5, 7, 7, 7], pa.int64()), "item": list("abcdef")})
    assert renumbered(events)["session_number"].to_pylist() == [0, 0, 1, 2, 2, 2]
    left = of_two_or_more(events)
    assert left["session_number"].to_pylist() == [0, 0, 1, 1, 1] and left["item"].to_pylist() == list("abdef")
    assert of_two_or_more(events.slice(0, 0)).num_rows == 0


def test_a_variation_is_trained_from_nothing_in_this_process(small: Feed, tmp_path: Path) -> None:
    training = TrainingSettings(launcher="torchrun", processes=2, warm_start=True)
    settings = small.settings.model_copy(update={"training": training, "home": tmp_path})
    with Laboratory(settings, Compute(settings.compute)) as lab:
        train = lab.put("train_split", small.stored["train_split"].path)
        network, _ = lab.fit(train, ["gru4rec"])["gru4rec"]
    weights = small.stored["gru4rec_checkpoint"].checkpoint().arrays
    for name, array in network.arrays.items():  # type: ignore[attr-defined]
        np.testing.assert_array_equal(array, weights[name])
