"""How models are ranked and measured."""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from sessrec_pipeline.settings.base import Section

TieRule = Literal["standard", "median", "conservative"]


class EvaluationSettings(Section):
    """How models are ranked and measured."""

    cutoffs: list[Annotated[int, Field(ge=1)]] = Field(default=[5, 10, 20], min_length=1)
    """K of Recall@K, MRR@K, NDCG@K and all else that is measured at K; none above ``top_items``."""
    primary: Annotated[str, Field(pattern=r"^(recall|mrr|ndcg)@[1-9][0-9]*$")] | None = None
    """The metric that decides, as in ``"mrr@10"``: it orders the leaderboard, and its tests say which models can be
    told apart and which one is recommended. By default Recall at the largest cutoff."""
    equivalence_margin: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """What a difference must be to matter, as a share of the better model's value. Models whose difference surely (by
    its whole 95 % interval) is smaller are equivalent, and the cheapest model that is equivalent to the best is
    recommended."""
    tie_rule: TieRule = "conservative"
    """Rank of a target among equal scores on the leaderboard; the metrics table holds all three."""
    top_items: Annotated[int, Field(ge=1)] = 20
    """Items kept with every prediction."""
    batch_size: Annotated[int, Field(ge=1)] = 256
    """Predictions scored at once; no result depends on it."""
    shards: Annotated[int, Field(ge=1, le=1000)] = 1
    """Rank the test sessions in so many parts, each a partition that can be ranked on a machine of its own, and merge
    them; no result depends on it."""
    bootstrap_samples: Annotated[int, Field(ge=100)] = 1000
    """Resamples of the test sessions behind each 95 % interval."""
    permutations: Annotated[int, Field(ge=1000)] = 10_000
    """Random sign flips behind each paired test: no p-value is below one in so many, nor can Holm's correction over
    many pairs of models find one significant with few."""
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """A difference of two models is significant where its p-value, corrected by Holm over all pairs, is below this."""
    diversity_lists: Annotated[int, Field(ge=1)] = 1000
    """Lists, drawn at random from the predictions and the same for all models, from which diversity is measured."""
    seed: Annotated[int, Field(ge=0)] = 42
    """Seed of all draws: resamples, sign flips, lists, trials of baselines."""

    @field_validator("cutoffs")
    @classmethod
    def _rising(cls, cutoffs: list[int]) -> list[int]:
        if cutoffs != sorted(set(cutoffs)):
            raise ValueError("name each cutoff once, in rising order")
        return cutoffs

    @property
    def deciding(self) -> tuple[str, int]:
        """The primary metric and its cutoff."""
        metric, k = (self.primary or f"recall@{max(self.cutoffs)}").split("@")
        return metric, int(k)

    @model_validator(mode="after")
    def _primary_is_measured(self) -> Self:
        if self.deciding[1] not in self.cutoffs:
            raise ValueError(
                f"primary = {self.primary!r} is measured at none of the cutoffs {self.cutoffs}; add it to cutoffs, or "
                "choose one of them"
            )
        return self

    @model_validator(mode="after")
    def _lists_reach_the_cutoffs(self) -> Self:
        largest = max(self.cutoffs)
        if largest > self.top_items:
            raise ValueError(
                f"cutoffs go up to {largest}, but only top_items = {self.top_items} items are kept with a prediction, "
                f"too few for what is measured on lists; set top_items = {largest}, or lower the cutoffs"
            )
        return self


class PublishedFigure(Section):
    """A figure of someone else on the same data and split, shown beside ours."""

    model: Annotated[str, Field(min_length=1)]
    """Model, as its authors call it."""
    metric: Literal["recall", "mrr", "ndcg"]
    """What was measured."""
    k: Annotated[int, Field(ge=1)] = 20
    """Cutoff."""
    value: Annotated[float, Field(ge=0, le=1)]
    """The figure, as a share (papers often print percent)."""
    source: Annotated[str, Field(min_length=1)]
    """Where it is printed; a figure without a source is not shown."""
    note: str = ""
    """What keeps it from being compared like with like."""
