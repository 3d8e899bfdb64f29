"""What the studies work with."""

from typing import Annotated

from pydantic import Field

from sessrec_pipeline.settings.base import Section


class StudySettings(Section):
    """What the studies work with (``sessrec studies``); they are made on request, never by a rebuild."""

    models: list[str] | None = None
    """Models that are fitted anew for each variation; by default all of the feed's that are not trained."""
    trained: bool = False
    """Fit the models that are trained, too, with their configured epochs: some twenty trainings of each."""
    negatives: Annotated[int, Field(ge=1)] = 100
    """Items that the target is ranked among where negatives are sampled."""
    windows: Annotated[int, Field(ge=2)] = 5
    """Sliding windows: test periods one upon the other up to the end of the log, each with its training before it."""
    window_train_days: Annotated[float, Field(gt=0)] | None = None
    """Length of the training of each window; by default four times that of its test."""
    window_test_days: Annotated[float, Field(gt=0)] | None = None
    """Length of the test of each window; by default a quarter of its training, and where that is not set either, as
    much as fills the log."""
    seed: Annotated[int, Field(ge=0)] = 42
    """Seed of shuffling and of sampled negatives."""
