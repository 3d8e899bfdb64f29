"""From stored artefacts back to models that can score: for the rankings, and for a person who asks for a list."""

from collections.abc import Callable, Mapping

import pyarrow as pa

from sessrec_pipeline.compute import Compute
from sessrec_pipeline.models.base import Recommender
from sessrec_pipeline.models.markov import Markov
from sessrec_pipeline.models.popularity import Popularity
from sessrec_pipeline.models.session_knn import SessionKNN
from sessrec_pipeline.models.session_popularity import SessionPopularity
from sessrec_pipeline.models.sparse import Rules
from sessrec_pipeline.settings import GRU4RecConfig, Settings
from sessrec_pipeline.storage.store import Stored

ARTEFACTS: dict[str, tuple[str, ...]] = {
    "popularity": ("popularity",),
    "recent_popularity": ("recent_popularity",),
    "session_popularity": ("popularity",),
    "markov": ("popularity", "markov"),
    "ar": ("popularity", "ar"),
    "sr": ("popularity", "sr"),
    "item_knn": ("popularity", "item_knn"),
    "sknn": ("popularity", "recent_sessions"),
    "vsknn": ("popularity", "recent_sessions"),
    "stan": ("popularity", "recent_sessions"),
    "vstan": ("popularity", "recent_sessions"),
    "gru4rec": ("gru4rec_checkpoint",),
    "oracle": ("popularity",),
}
"""The assets that each model is made of; the oracle takes the catalogue alone, for it knows the law."""


def models_of(settings: Settings) -> list[str]:
    """The models of a feed: those that the settings name, popularity, and the oracle where the feed's law is known."""
    chosen = {"popularity", *settings.models} | ({"oracle"} if settings.synthetic is not None else set())
    return [name for name in ARTEFACTS if name in chosen]


def load_model(
    name: str, stored: Mapping[str, Stored], settings: Settings, compute: Compute
) -> tuple[Recommender, list[str]]:
    """The model ``name`` from its ARTEFACTS, and its vocabulary: the item id of each item index."""
    if name == "gru4rec":
        from sessrec_pipeline.models.gru4rec import GRU4Rec  # noqa: PLC0415 - imports torch

        checkpoint = stored["gru4rec_checkpoint"].checkpoint()
        config = GRU4RecConfig.model_validate(checkpoint.config)
        return (
            GRU4Rec.from_weights(config, len(checkpoint.items), checkpoint.weights, compute.device()),
            checkpoint.items,
        )
    if name == "oracle":
        from sessrec_pipeline.logs.synthetic import law  # noqa: PLC0415
        from sessrec_pipeline.models.oracle import Oracle  # noqa: PLC0415

        if settings.synthetic is None:
            raise ValueError("the oracle needs a feed whose law is known: [synthetic] in sessrec.toml")
        vocabulary: list[str] = stored["popularity"].arrow(["item"])["item"].to_pylist()
        return Oracle(law(settings.synthetic), vocabulary), vocabulary
    tables = {artefact: table.arrow() for artefact, table in stored.items()}
    return COUNTED[name](tables, settings)


COUNTED: dict[str, Callable[[Mapping[str, pa.Table], Settings], tuple[Recommender, list[str]]]] = {
    "popularity": lambda t, _: Popularity.from_table(t["popularity"]),
    "recent_popularity": lambda t, _: Popularity.from_table(t["recent_popularity"]),
    "session_popularity": lambda t, s: SessionPopularity.from_table(t["popularity"], s.session_popularity),
    "markov": lambda t, s: Markov.from_tables(t["popularity"], t["markov"], s.markov),
    "ar": lambda t, s: Rules.from_tables(t["popularity"], t["ar"], padding=s.ar.padding),
    "sr": lambda t, s: Rules.from_tables(t["popularity"], t["sr"], padding=s.sr.padding),
    "item_knn": lambda t, s: Rules.from_tables(t["popularity"], t["item_knn"], padding=s.item_knn.padding),
    "sknn": lambda t, s: SessionKNN.from_tables(t["popularity"], t["recent_sessions"], s.sknn),
    "vsknn": lambda t, s: SessionKNN.from_tables(t["popularity"], t["recent_sessions"], s.vsknn),
    "stan": lambda t, s: SessionKNN.from_tables(t["popularity"], t["recent_sessions"], s.stan),
    "vstan": lambda t, s: SessionKNN.from_tables(t["popularity"], t["recent_sessions"], s.vstan),
}
"""How the models of counts and neighbours come from their tables."""
