"""The laboratory works with the pipeline's own functions and leaves no trace."""

from pathlib import Path

import pyarrow as pa
import pytest
from small_feed import Feed

from assets.compute import Compute
from assets.studies import fits
from sessrec_pipeline.fitted import ARTEFACTS, models_of
from sessrec_pipeline.settings import StudySettings, TrainingSettings
from sessrec_pipeline.storage.checkpoints import Checkpoint
from sessrec_pipeline.studies.laboratory import Shelf, of_two_or_more, renumbered, studied_models


def contents(home: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in home.rglob("*") if path.is_file()}


def test_fits_what_the_pipeline_fits_and_leaves_no_trace(small: Feed) -> None:
    before = contents(small.settings.home)
    with small.laboratory() as lab:
        fitted = lab.fit(lab.put("train_split", small.stored["train_split"].path), models_of(small.settings))
        assert {artefact for artefacts in ARTEFACTS.values() for artefact in artefacts} < set(fitted)
        for name in ("popularity", "markov", "gru4rec_checkpoint"):
            assert fitted[name].node.data_version == small.stored[name].node.data_version, name
        assert lab.settings.home.is_relative_to(small.settings.scratch)
        assert contents(lab.settings.home)
    assert contents(small.settings.home) == before
    assert not list(small.settings.scratch.iterdir())


def test_leaves_no_trace_when_it_fails(small: Feed) -> None:
    with pytest.raises(ZeroDivisionError), small.laboratory() as lab:
        lab.put("train_split", small.stored["train_split"].path)
        raise ZeroDivisionError
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

    counted = [m for m in models_of(small.settings) if m not in ("gru4rec", "oracle")]
    assert chosen() == counted and {"popularity", "markov"} <= set(counted)
    assert set(chosen(gru4rec=True)) == {*counted, "gru4rec"}
    assert chosen(models=["markov"], gru4rec=True) == ["markov", "gru4rec"]
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
    compute = Compute(settings.compute)
    made = fits(settings, compute)["gru4rec_checkpoint"].make(settings, Shelf(settings), small.stored)
    assert isinstance(made, Checkpoint)
    assert made.stats["launcher"] == "none"
    assert made.content_hash() == small.stored["gru4rec_checkpoint"].node.data_version
