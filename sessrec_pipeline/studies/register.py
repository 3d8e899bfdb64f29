"""All studies, in the order in which people read them."""

from sessrec_pipeline.feed import cards_of
from sessrec_pipeline.settings import Settings
from sessrec_pipeline.studies import (
    catalogue_size,
    markov_alpha,
    null_feed,
    sampled_negatives,
    session_length,
    shuffled_sessions,
    sliding_windows,
    tie_rules,
    train_ratio,
    training_sessions,
    unseen_items,
)
from sessrec_pipeline.studies.study import Study

STUDIES = [
    sampled_negatives.STUDY,
    tie_rules.STUDY,
    null_feed.STUDY,
    shuffled_sessions.STUDY,
    training_sessions.STUDY,
    train_ratio.STUDY,
    sliding_windows.STUDY,
    unseen_items.STUDY,
    catalogue_size.STUDY,
    markov_alpha.STUDY,
    session_length.STUDY,
]


def studies_of(settings: Settings) -> list[Study]:
    """The studies that a feed's models allow."""
    models = [card.name for card in cards_of(settings)]
    return [study for study in STUDIES if all(model in models for model in study.needs)]
