"""From stored artefacts back to models that can score: for the rankings, and for a person who asks for a list."""

from collections.abc import Mapping

from sessrec_pipeline.compute import Compute
from sessrec_pipeline.models.base import Recommender
from sessrec_pipeline.models.markov import Markov
from sessrec_pipeline.models.popularity import Popularity
from sessrec_pipeline.settings import GRU4RecConfig, Settings
from sessrec_pipeline.storage.store import Stored

ARTEFACTS: dict[str, tuple[str, ...]] = {
    "popularity": ("popularity",),
    "markov": ("popularity", "markov"),
    "gru4rec": ("gru4rec_checkpoint",),
    "oracle": ("popularity",),
}
"""The assets that each model is made of; the oracle takes the catalogue alone, for it knows the law."""


def models_of(settings: Settings) -> list[str]:
    """The models of a feed: the oracle is among them where the feed's law is known."""
    return [name for name in ARTEFACTS if name != "oracle" or settings.synthetic is not None]


def load_model(
    name: str, stored: Mapping[str, Stored], settings: Settings, compute: Compute
) -> tuple[Recommender, list[str]]:
    """The model ``name`` from its ARTEFACTS, and its vocabulary: the item id of each item index."""
    if name == "popularity":
        return Popularity.from_table(stored["popularity"].arrow())
    if name == "markov":
        return Markov.from_tables(stored["popularity"].arrow(), stored["markov"].arrow(), settings.markov)
    if name == "oracle":
        from sessrec_pipeline.logs.synthetic import law  # noqa: PLC0415
        from sessrec_pipeline.models.oracle import Oracle  # noqa: PLC0415

        if settings.synthetic is None:
            raise ValueError("the oracle needs a feed whose law is known: [synthetic] in sessrec.toml")
        vocabulary: list[str] = stored["popularity"].arrow(["item"])["item"].to_pylist()
        return Oracle(law(settings.synthetic), vocabulary), vocabulary
    from sessrec_pipeline.models.gru4rec import GRU4Rec  # noqa: PLC0415 - imports torch

    checkpoint = stored["gru4rec_checkpoint"].checkpoint()
    config = GRU4RecConfig.model_validate(checkpoint.config)
    return (
        GRU4Rec.from_weights(config, len(checkpoint.items), checkpoint.weights, compute.device()),
        checkpoint.items,
    )
