"""Everything a person can choose, read from ``sessrec.toml`` in the feed's home and from ``SESSREC_*``.

One home holds one feed (one shop, one data set): its landed logs, its lake, its warehouse, its models.
``SESSREC_HOME`` names the home. Without it the home is ``data/`` as soon as that holds a ``sessrec.toml`` or a
landed log, and the built-in demo's home ``data/demo`` until then.

A field ``[split] days`` is also ``SESSREC_SPLIT__DAYS``; the environment outranks the file.
"""

import difflib
import os
import re
import tomllib
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

TieRule = Literal["standard", "median", "conservative"]

MODELS = (
    "popularity",
    "recent_popularity",
    "session_popularity",
    "markov",
    "ar",
    "sr",
    "item_knn",
    "sknn",
    "vsknn",
    "stan",
    "vstan",
    "gru4rec",
)
"""Models that a feed can have; the oracle is none that one could choose."""


class SettingsError(ValueError):
    """A setting that cannot be used. The text names the file, the field and what to write instead."""


class Section(BaseModel):
    """A table of ``sessrec.toml``; unknown names are refused, so a typo cannot pass in silence."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class RowRule(Section):
    """Which rows of a log count as events; the others are counted under ``reason`` and left out."""

    column: str
    """Column that the rule looks at."""
    one_of: list[str] | None = None
    """Keep the rows with one of these values (event types, say)."""
    not_prefix: str | None = None
    """Drop the rows whose value starts with this text (cancelled invoices, say)."""
    minimum: float | None = None
    """Drop the rows whose value is no number or less than this one."""

    @model_validator(mode="after")
    def _one_condition(self) -> Self:
        if sum(x is not None for x in (self.one_of, self.not_prefix, self.minimum)) != 1:
            raise ValueError("give exactly one of one_of, not_prefix, minimum")
        return self

    @property
    def reason(self) -> str:
        """Name under which the rows that were left out are counted."""
        if self.one_of is not None:
            return f"{self.column}_not_in_list"
        return f"{self.column}_has_prefix" if self.not_prefix is not None else f"{self.column}_below_minimum"


@cache
def log_presets() -> dict[str, dict[str, Any]]:
    """Values of ``[logs]`` for public logs, by name; ``source``, which is no setting, says which files are meant."""
    return tomllib.loads((files("sessrec_pipeline") / "logs" / "presets.toml").read_text(encoding="utf-8"))


class LogSettings(Section):
    """What the landed logs look like. The default is a TSV ``SessionId  ItemId  Time`` in Unix seconds."""

    preset: str | None = None
    """Name in ``logs/presets.toml``: its values stand for the fields that are not given here."""
    format: Literal["tsv", "csv", "jsonl", "parquet"] = "tsv"
    """Format of every log of this feed; text in a file whose name ends in .gz or .zst is read through gzip or zstd."""
    delimiter: str | None = Field(default=None, min_length=1, max_length=1)
    """Field delimiter; by default a tab for tsv and a comma for csv."""
    columns: list[str] | None = None
    """Names of the columns, in order, of logs that have no header line."""
    events: str | None = None
    """jsonl with a session a line: key of the list of events. The session is the line's, all else the event's."""
    session: str = "SessionId"
    """Column (key, in jsonl) with the session id, any text."""
    item: str = "ItemId"
    """Column with the item id, any text."""
    time: str = "Time"
    """Column with the time of the event."""
    time_unit: Literal["s", "ms", "us", "iso8601", "order"] = "s"
    """Unit of the time since 1970-01-01 UTC, fractions allowed; or ISO 8601 text, UTC where it names no zone; or order:
    the numbers only say what came first, and stand as so many microseconds after the start of ``earliest_year``."""
    time_offset: str | None = None
    """Column with milliseconds to add to the time, where that is a date or the start of a session."""
    earliest_year: Annotated[int, Field(ge=1971, le=2100)] = 2000
    """Times before this year go to quarantine: few logs are older, and a wrong unit is soon seen."""
    extra_columns: list[str] = []
    """Further columns to keep, as text."""
    keep: list[RowRule] = []
    """Rules that say which rows are events at all."""
    session_scope: Literal["feed", "log"] = "feed"
    """Whether the same session id in two logs is one session (feed) or two (log)."""
    max_bad_share: Annotated[float, Field(ge=0, le=1)] = 0.5
    """A log with more than this share of unreadable rows is refused whole: its settings are likely wrong."""

    @model_validator(mode="before")
    @classmethod
    def _preset_stands_in(cls, given: Any) -> Any:
        name = given.get("preset") if isinstance(given, dict) else None
        if not isinstance(name, str):
            return given
        presets = log_presets()
        if name not in presets:
            raise ValueError(f"no preset {name!r}; there are {', '.join(presets)}")
        return {key: value for key, value in presets[name].items() if key != "source"} | given

    @field_validator("extra_columns")
    @classmethod
    def _not_ours(cls, names: list[str]) -> list[str]:
        lower = [name.lower() for name in names]
        taken = sorted({"log", "line", "session", "item", "time", "reason"} & set(lower))
        if taken:
            raise ValueError(f"{taken[0]!r} is a column of our own; rename it in the log")
        doubled = sorted({name for name in lower if lower.count(name) > 1})
        if doubled:
            raise ValueError(f"{doubled[0]!r} stands twice (SQL does not tell capitals apart); rename one in the log")
        return names

    @field_validator("delimiter")
    @classmethod
    def _can_part_fields(cls, delimiter: str | None) -> str | None:
        if delimiter in ('"', "\n", "\r", "\0"):
            raise ValueError("a quote, a line end or NUL cannot part fields")
        return delimiter

    @model_validator(mode="after")
    def _fit_the_format(self) -> Self:
        if self.events is not None and self.format != "jsonl":
            raise ValueError(f'events is for format = "jsonl" alone, not for {self.format}')
        for name in ("columns", "delimiter"):
            if getattr(self, name) is not None and self.format not in ("tsv", "csv"):
                raise ValueError(f"{name} is for tsv and csv, not for {self.format}")
        return self

    @property
    def separator(self) -> str:
        """The delimiter in force."""
        return self.delimiter or ("," if self.format == "csv" else "\t")

    @property
    def needed_columns(self) -> tuple[str, ...]:
        """Columns that a log must have, each once."""
        offset = [] if self.time_offset is None else [self.time_offset]
        rules = [rule.column for rule in self.keep]
        return tuple(dict.fromkeys([self.session, self.item, self.time, *offset, *self.extra_columns, *rules]))

    @property
    def earliest(self) -> int:
        """Start of ``earliest_year`` in microseconds since 1970 UTC."""
        return int(datetime(self.earliest_year, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000


class SessionSettings(Section):
    """How events become sessions."""

    drop_duplicates: bool = True
    """Drop a row that equals another one in session, item, time and every extra column."""
    inactivity_gap_minutes: Annotated[float, Field(gt=0)] | None = None
    """Start a new session after so many minutes without an event."""
    drop_consecutive_repeats: bool = False
    """Drop an event on the same item as the event before it in its session."""
    min_session_length: Annotated[int, Field(ge=1)] = 2
    """Drop shorter sessions, again and again together with the next filter until nothing changes."""
    max_session_length: Annotated[int, Field(ge=2, le=1_000_000)] = 2000
    """Drop longer sessions (crawlers)."""
    min_item_support: Annotated[int, Field(ge=1)] = 1
    """Drop items with fewer events; 5 is usual for real logs."""
    window_days: Annotated[float, Field(gt=0)] | None = None
    """Take only logs whose last event lies in so many days before the last event of all; older logs stay in the lake
    and are not read, so a night's work does not grow with the years."""


class SplitSettings(Section):
    """How sessions are divided into train and test."""

    rule: Literal["ratio", "days", "given"] = "ratio"
    """ratio: the first sessions in time order train; days: sessions that start in the last days test, and train is
    cut at that moment; given: the log brings its own split, taken as it is."""
    ratio: Annotated[float, Field(gt=0, lt=1)] = 0.8
    """Share of the sessions that train under the ratio rule."""
    days: Annotated[float, Field(gt=0)] = 1
    """Length of the test period under the days rule."""
    column: str | None = None
    """given: the extra column that says ``train`` or ``test``."""
    test_logs: list[str] = []
    """given: names of the landed logs that are the test set; all others train."""
    keep_unseen_items: bool = False
    """Keep test events on items that training never saw; they count as misses."""
    tuning_rule: Literal["ratio", "days"] | None = None
    """Rule of the split inside train on which everything is tuned; by default the same, or ratio after given."""

    @model_validator(mode="after")
    def _given_names_its_source(self) -> Self:
        if self.rule == "given" and (self.column is None) == (not self.test_logs):
            raise ValueError('rule = "given" needs either column or test_logs')
        return self

    @property
    def tuning(self) -> "SplitSettings":
        """The settings of the split inside train."""
        rule = self.tuning_rule or ("ratio" if self.rule == "given" else self.rule)
        return self.model_copy(update={"rule": rule})


class MarkovSettings(Section):
    """First-order Markov chain over items, as in the reproduction study."""

    alpha: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Weight of popularity in the blend: 0 is pure Markov, 1 pure popularity."""
    padding: bool = True
    """Rank the items that never followed the current one by popularity; without it they all tie at zero."""


class SessionPopularitySettings(Section):
    """The items of the session itself, by how often they occur in it."""

    padding: bool = True
    """Rank the items that are not in the session by popularity; without it they all tie at zero."""


class RecentPopularitySettings(Section):
    """Items by their events in the last days of training."""

    days: Annotated[float, Field(gt=0)] = 1
    """Length of the window that ends with the last training event."""


class AssociationRulesSettings(Section):
    """AR: items that share a session with the current one (Ludewig & Jannach 2018)."""

    pruning: Annotated[int, Field(ge=1)] = 20
    """Rules kept for each item, the strongest ones."""
    padding: bool = True
    """Rank the items without a rule by popularity; without it they all tie at zero."""


class SequentialRulesSettings(Section):
    """SR: items that came a few steps after the current one (Kamehkhosh et al. 2017, Ludewig & Jannach 2018)."""

    steps: Annotated[int, Field(ge=1)] = 10
    """How many events after an item its rules look."""
    weighting: Literal["div", "linear", "quadratic", "log", "same"] = "div"
    """What a pair of items d steps apart weighs: 1/d, 1 - d/10 (0 from 10 on), 1/d**2, 1/log10(d + 1.7), 1."""
    pruning: Annotated[int, Field(ge=1)] = 20
    """Rules kept for each item, the strongest ones."""
    padding: bool = True
    """Rank the items without a rule by popularity; without it they all tie at zero."""


class ItemKNNSettings(Section):
    """Item-KNN: items whose training sessions are much the same as those of the current one."""

    neighbours: Annotated[int, Field(ge=1)] = 100
    """Most similar items kept for each item."""
    regularisation: Annotated[float, Field(ge=0)] = 20
    """Sessions added to those of each item under the root of the cosine: rare items look less alike by chance."""
    padding: bool = True
    """Rank the items that are not similar by popularity; without it they all tie at zero."""


class SessionKNNSettings(Section):
    """What SKNN, VS-KNN, STAN and VSTAN share: which training sessions are looked at."""

    k: Annotated[int, Field(ge=1)] = 500
    """Neighbours: most similar sessions of the sample that score items, the most recent ones among equals."""
    sample_size: Annotated[int, Field(ge=1)] = 5000
    """The sample: most recent training sessions that share an item with the current one."""
    repeat_current: bool = True
    """Score the current item as any other. It is in most neighbours and stands first in most lists: turn it off where
    no item follows itself, as after ``[sessions] drop_consecutive_repeats``."""
    padding: bool = True
    """Rank the items that no neighbour scores by popularity; without it they all tie at zero."""


class SKNNSettings(SessionKNNSettings):
    """SKNN: cosine of the sets of items (Jannach & Ludewig 2017)."""

    k: Annotated[int, Field(ge=1)] = 100
    """Neighbours: most similar sessions of the sample that score items, the most recent ones among equals."""
    sample_size: Annotated[int, Field(ge=1)] = 500
    """The sample: most recent training sessions that share an item with the current one."""


class VSKNNSettings(SessionKNNSettings):
    """VS-KNN: SKNN that stresses the last events of the current session (Ludewig & Jannach 2018)."""

    weighting: Literal["div", "linear", "quadratic", "log", "same"] = "quadratic"
    """What event i of n in the current session weighs in the similarity: i/n, 1 - (n - i)/10 (0 from 10 events back
    on), (i/n)**2, 1/log10(n - i + 1.7), 1."""
    weighting_score: Literal["div", "linear", "quadratic", "log", "same"] = "div"
    """What a neighbour weighs whose most recent shared item is j-th from the end of the current session: 1/j,
    1 - j/10 (0 from j = 10 on), 1/j**2, 1/log10(j + 1.7), 1."""
    idf_weighting: Annotated[float, Field(ge=0)] = 5
    """An item's score is multiplied by 1 + idf_weighting * idf; 0 leaves it."""


class STANSettings(SessionKNNSettings):
    """STAN: position and age of what is shared fade exponentially (Garg et al. 2019)."""

    lambda_spw: Annotated[float, Field(gt=0)] = 1.02
    """Events over which the weight of an event of the current session fades by a factor e."""
    lambda_snh: Annotated[float, Field(gt=0)] = 5
    """Days over which the weight of a training session fades by a factor e."""
    lambda_inh: Annotated[float, Field(gt=0)] = 2.05
    """Events of a neighbour, counted from its most recent shared item, over which its items' weight fades by e."""


class VSTANSettings(STANSettings):
    """VSTAN: STAN with the ideas of VS-KNN (Ludewig et al. 2020)."""

    lambda_ipw: Annotated[float, Field(gt=0)] = 1.02
    """Events from the end of the current session over which the weight of a neighbour's shared item fades by e."""
    lambda_idf: Annotated[float, Field(ge=0)] = 5
    """An item's score is multiplied by 1 + lambda_idf * idf; 0 leaves it."""


class GRU4RecConfig(Section):
    """Hyper-parameters of GRU4Rec; the names are those of Hidasi & Karatzoglou (CIKM 2018)."""

    layers: list[Annotated[int, Field(ge=1)]] = Field(default=[100], min_length=1)
    """Units of each GRU layer."""
    embedding: Literal["shared", "separate", "none"] = "shared"
    """Input vectors: the output table itself, a table of their own (``layers[0]`` wide), or one-hot."""
    loss: Literal["cross-entropy", "bpr-max"] = "bpr-max"
    """Training loss over the target and the negatives."""
    batch_size: Annotated[int, Field(ge=1)] = 50
    """Sessions that train in parallel; also the divisor of the summed loss."""
    n_epochs: Annotated[int, Field(ge=1)] = 5
    """Passes over the training sessions."""
    learning_rate: Annotated[float, Field(gt=0)] = 0.05
    """Step of Adagrad."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Momentum of the Adagrad update."""
    dropout_embedding: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Probability that a component of the input vector is dropped."""
    dropout_hidden: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Probability that a component of a layer's output, which is also its next state, is dropped."""
    n_sample: Annotated[int, Field(ge=0)] = 2048
    """Negatives drawn per mini-batch beside the other targets of the mini-batch."""
    sample_alpha: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Negatives are drawn in proportion to support ** sample_alpha."""
    bpreg: Annotated[float, Field(ge=0)] = 1.0
    """Weight of BPR-max's regulariser of the negatives' scores."""
    elu_param: Annotated[float, Field(ge=0)] = 0.5
    """ELU over the scores for BPR-max; 0 leaves them linear."""
    logq: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the logQ correction of sampled scores, cross-entropy only."""
    seed: Annotated[int, Field(ge=0)] = 42
    """Seed of weights, dropout and negatives."""


class TrainingSettings(Section):
    """How GRU4Rec is trained beside its hyper-parameters; what is chosen is chosen inside train."""

    warm_start: bool = False
    """Train on from the last checkpoint with the sessions that came since, instead of from nothing."""
    validate_epochs: bool = False
    """Add the asset gru4rec_validation: metrics after each epoch on the tuning split; its best epoch is trained."""
    patience: Annotated[int, Field(ge=1)] = 2
    """Validation stops after so many epochs without a better one."""
    metric: Literal["recall", "mrr"] = "mrr"
    """What validation and tuning look at, for all models, at the largest cutoff under the conservative tie rule."""
    tuning_trials: Annotated[int, Field(ge=0)] = 0
    """Add the assets gru4rec_tuning and baseline_tuning: so many trials of Optuna (extra ``tuning``) for every model
    that has something to tune; the best settings of each are what it is made with."""
    study: SecretStr | None = None
    """Database that holds the trials of a search under way, as a URL of SQLAlchemy
    (``postgresql://user:password@host/database``), for machines that share no folder; by default a file in the feed's
    home. ``SESSREC_TRAINING__STUDY`` keeps the password out of the file."""
    launcher: Literal["none", "torchrun"] = "none"
    """Who starts what trains the checkpoint. none: the step itself trains; torchrun: several processes share out each
    mini-batch, for the same weights up to the rounding of float32 sums."""
    processes: Annotated[int, Field(ge=1)] = 1
    """torchrun: processes on each node, on a GPU node one for each GPU."""
    nodes: Annotated[int, Field(ge=1)] = 1
    """torchrun: machines, all of which see the feed's home under the same path."""
    rendezvous: str | None = Field(default=None, pattern=r"^(\[[0-9a-fA-F:]+\]|[^\s/:\[\]-][^\s/:\[\]]*):\d{1,5}$")
    """torchrun, more than one node: ``host:port`` where they meet; the host is one of them."""

    @field_validator("study")
    @classmethod
    def _a_url(cls, study: SecretStr | None) -> SecretStr | None:
        if study is not None and not re.fullmatch(r"[a-z][a-z0-9]*(\+[a-z0-9_]+)?://\S*", study.get_secret_value()):
            raise ValueError("write the URL of a database, such as postgresql://user:password@host/database")
        return study

    @model_validator(mode="after")
    def _fit_the_launcher(self) -> Self:
        if self.launcher == "none" and (self.processes > 1 or self.nodes > 1):
            raise ValueError('processes and nodes are for launcher = "torchrun"')
        if (self.nodes > 1) != (self.rendezvous is not None):
            raise ValueError('more than one node needs rendezvous = "host:port", and only they do')
        return self


class EvaluationSettings(Section):
    """How models are ranked and measured."""

    cutoffs: list[Annotated[int, Field(ge=1)]] = Field(default=[5, 10, 20], min_length=1)
    """K of Recall@K, MRR@K, NDCG@K and all else that is measured at K; none above ``top_items``."""
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

    @model_validator(mode="after")
    def _lists_reach_the_cutoffs(self) -> Self:
        largest = max(self.cutoffs)
        if largest > self.top_items:
            raise ValueError(
                f"cutoffs go up to {largest}, but only top_items = {self.top_items} items are kept with a prediction, "
                f"too few for what is measured on lists; set top_items = {largest}, or lower the cutoffs"
            )
        return self


class StudySettings(Section):
    """What the studies work with (``sessrec studies``); they are made on request, never by a rebuild."""

    models: list[str] | None = None
    """Models that are fitted anew for each variation; by default all of the feed's that are counted, not trained."""
    gru4rec: bool = False
    """Train GRU4Rec, too, for each variation, with its configured epochs: some twenty trainings for all studies."""
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


class DriftSettings(Section):
    """When a day counts as drifted. Each day (UTC) is compared with the weeks before it.

    A threshold that is not set is learned: the 99th percentile of the measure's values in the reference weeks, and at
    least a floor above their median (``quality/drift.py``).
    """

    reference_weeks: Annotated[int, Field(ge=1)] = 4
    """Weeks before a day that it is compared with."""
    min_days: Annotated[int, Field(ge=2, le=7)] = 7
    """A day is judged once so many days with events lie before it, and so many values to learn a threshold from."""
    history_days: Annotated[int, Field(ge=1)] = 84
    """Days in the table, the last ones of the feed; older logs are read as far as these days need them."""
    check_days: Annotated[int, Field(ge=1)] = 1
    """The checks look at so many of the last judged days; raise it where several days land at once."""
    new_item_share: Annotated[float, Field(ge=0, le=1)] | None = None
    """Threshold of the share of the day's events on items without an event in the reference weeks."""
    psi: Annotated[float, Field(ge=0)] | None = None
    """Threshold of the population stability index of item popularity, over items known in the reference weeks."""
    js_distance: Annotated[float, Field(ge=0, le=1)] | None = None
    """Threshold of the Jensen-Shannon distance of item popularity, over the same items."""
    mean_session_length: Annotated[float, Field(ge=0, le=1)] | None = None
    """Threshold of the change of events per session; 0.5 is half or twice as many."""
    single_event_sessions: Annotated[float, Field(ge=0, le=1)] | None = None
    """Threshold of the change of the share of sessions with one event: 0.1 is ten percentage points."""
    events: Annotated[float, Field(ge=0, le=1)] | None = None
    """Threshold of the change of events a day, against the same weekdays; 0.5 is half or twice as many."""
    sessions: Annotated[float, Field(ge=0, le=1)] | None = None
    """Threshold of the change of sessions that start on a day, likewise."""


class SyntheticSettings(Section):
    """The generator behind a synthetic feed; a feed that has one also ranks its oracle."""

    kind: Literal["demo", "null"] = "demo"
    """demo: sessions with long-range structure; null: independent draws, in which there is nothing to learn."""
    sessions: Annotated[int, Field(ge=10)] = 1000
    """Sessions to generate."""
    items: Annotated[int, Field(ge=50)] = 500
    """Items of the catalogue."""
    days: Annotated[int, Field(ge=1)] = 10
    """Daily logs over which the sessions spread."""
    seed: Annotated[int, Field(ge=0)] = 42
    """Seed of the law and of the draws."""


class EngineSettings(Section):
    """Where the SQL of preparation and of the count models runs; the rows are the same, and so are their hashes."""

    kind: Literal["duckdb", "spark"] = "duckdb"
    """duckdb: inside this process; spark: on any server of Spark Connect (extra ``spark``)."""
    url: str | None = None
    """spark: where the server listens, ``sc://host:port``; options such as ``/;use_ssl=true;token=...`` may follow."""
    lake: Path | None = None
    """spark: a folder that the cluster sees under the same path, through which all rows travel; by default the feed's
    home is one. Where another is named, what a step reads is copied into it first."""

    @model_validator(mode="after")
    def _fit_the_kind(self) -> Self:
        if self.kind == "spark" and self.url is None:
            raise ValueError('kind = "spark" needs url = "sc://host:port"')
        for name in ("url", "lake"):
            if self.kind == "duckdb" and getattr(self, name) is not None:
                raise ValueError(f'{name} is for kind = "spark"')
        return self

    @field_validator("url")
    @classmethod
    def _of_spark_connect(cls, url: str | None) -> str | None:
        if url is not None and not re.fullmatch(r"sc://(\[[0-9a-fA-F:]+\]|[^\s/:;]+)(:\d{1,5})?(/(;\S*)?)?", url):
            raise ValueError("write sc://host:port, where the server of Spark Connect listens")
        return url

    @field_validator("lake")
    @classmethod
    def _absolute(cls, lake: Path | None) -> Path | None:
        if lake is not None and not lake.is_absolute():
            raise ValueError(f"{lake} must be an absolute path, for the cluster has folders of its own")
        return lake


class StorageSettings(Section):
    """What is kept of tables and models that were made again."""

    keep_versions: Annotated[int, Field(ge=1)] = 3
    """Versions of each table and model that are kept, the current one among them, for ``sessrec restore``. Those that
    are pinned, or that something current was made from, are kept beside them. With 1, a step whose input is replaced
    while it reads may have to begin again."""


class ComputeSettings(Section):
    """Where training and scoring run."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto takes a GPU where there is one; cuda refuses to run without."""
    threads: Annotated[int, Field(ge=1)] = 1
    """CPU threads of torch; on small kernels two are many times slower than one."""
    steps: Literal["processes", "pods"] = "processes"
    """What a run makes of its steps: processes beside its own; or, on Kubernetes (extra ``k8s``), a pod each, which is
    what brings a step that wants a GPU to a node that has one."""
    gpu_pod: dict[str, Any] = {}
    """pods: what the pods of GPU steps need at this site beside the GPU itself, in the words of a pod's spec:
    ``nodeSelector``, ``tolerations``, ``runtimeClassName``, ..."""

    @model_validator(mode="after")
    def _gpu_pods_are_pods(self) -> Self:
        if self.gpu_pod and self.steps != "pods":
            raise ValueError('gpu_pod is for steps = "pods"')
        return self


class AutomationSettings(Section):
    """What runs by itself while the Dagster daemon runs."""

    running: bool = True
    """Whether the landing sensor and the rebuild conditions are on when the code location is first loaded."""
    poll_seconds: Annotated[int, Field(ge=5)] = 30
    """How often the landing folder is looked at."""
    settle_seconds: Annotated[float, Field(ge=0)] = 10
    """A log is taken once it has not changed for so long, or has stayed the same from one look to the next; a log that
    is still growing is left alone. 0 takes it at first sight."""
    nightly: str = "0 3 * * *"
    """Cron line (UTC) of the nightly schedule, which is off until it is switched on in the UI."""
    stale_after_hours: Annotated[float, Field(ge=1)] | None = None
    """Logs, checkpoint and leaderboard are shown as stale so many hours after a log was last taken, or they were last
    made; None: never."""


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


class Settings(BaseSettings):
    """All settings of one feed; see the module's text for where they are read from."""

    model_config = SettingsConfigDict(
        env_prefix="SESSREC_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
    )

    home: Path = Path("data")
    """Folder of the feed; set by ``SESSREC_HOME`` alone, never by the file inside it."""
    logs: LogSettings = LogSettings()
    sessions: SessionSettings = SessionSettings()
    split: SplitSettings = SplitSettings()
    models: list[str] = list(MODELS)
    """Models to build and rank; popularity, which is the catalogue, is always among them, and so is the oracle of a
    synthetic feed."""
    recent_popularity: RecentPopularitySettings = RecentPopularitySettings()
    session_popularity: SessionPopularitySettings = SessionPopularitySettings()
    markov: MarkovSettings = MarkovSettings()
    ar: AssociationRulesSettings = AssociationRulesSettings()
    sr: SequentialRulesSettings = SequentialRulesSettings()
    item_knn: ItemKNNSettings = ItemKNNSettings()
    sknn: SKNNSettings = SKNNSettings()
    vsknn: VSKNNSettings = VSKNNSettings()
    stan: STANSettings = STANSettings()
    vstan: VSTANSettings = VSTANSettings()
    gru4rec: GRU4RecConfig = GRU4RecConfig()
    training: TrainingSettings = TrainingSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    studies: StudySettings = StudySettings()
    drift: DriftSettings = DriftSettings()
    synthetic: SyntheticSettings | None = None
    engine: EngineSettings = EngineSettings()
    storage: StorageSettings = StorageSettings()
    compute: ComputeSettings = ComputeSettings()
    automation: AutomationSettings = AutomationSettings()
    published: list[PublishedFigure] = []
    """Figures of others on this feed's data and split, for the report and ``sessrec reproduce``."""
    memory_limit: str = Field(default="2GB", pattern=r"^\d+(\.\d+)? ?[KMG]i?B$")
    """Memory that DuckDB may use before it spills to disk."""

    @field_validator("home")
    @classmethod
    def _absolute(cls, home: Path) -> Path:
        home = home.expanduser().resolve()
        if set(str(home)) & set("*?["):
            raise ValueError(f"{home} holds * or ? or [, which DuckDB takes for a pattern; rename the folder")
        return home

    @field_validator("models")
    @classmethod
    def _models_are_known(cls, names: list[str]) -> list[str]:
        for name in names:
            if name not in MODELS:
                near = difflib.get_close_matches(name, MODELS, 1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise ValueError(f"there is no model {name!r}, but {', '.join(MODELS)}{hint}")
        return names

    @model_validator(mode="after")
    def _split_column_is_kept(self) -> Self:
        column = self.split.column
        if column is not None and column not in self.logs.extra_columns:
            raise ValueError(f'[split] column = "{column}" must also stand in [logs] extra_columns')
        return self

    @model_validator(mode="after")
    def _order_is_no_clock(self) -> Self:
        uses = {"split.rule": self.split.rule, "split.tuning_rule": self.split.tuning_rule}
        days = [name for name, rule in uses.items() if rule == "days"]
        if self.sessions.inactivity_gap_minutes is not None:
            days.append("sessions.inactivity_gap_minutes")
        days += [f"studies.{name}" for name in ("window_train_days", "window_test_days") if getattr(self.studies, name)]
        if self.logs.time_unit == "order" and days:
            raise ValueError(f'[logs] time_unit = "order" knows no minutes and days, which {days[0]} counts')
        return self

    @model_validator(mode="after")
    def _spark_takes_paths_as_they_are(self) -> Self:
        through = self.engine.lake or self.home
        if self.engine.kind == "spark" and set(str(through)) & set("*?[]{}\\"):
            raise ValueError(f"{through} holds * ? [ ] {{ }} or \\, which Spark takes for a pattern; rename the folder")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What outranks what: the caller (the home), the environment, the file."""
        home = Path(init_settings()["home"])
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, home / "sessrec.toml")

    @property
    def landing(self) -> Path:
        """Where logs land."""
        return self.home / "landing"

    @property
    def lake(self) -> Path:
        """Parquet tables, a folder an asset."""
        return self.home / "lake"

    @property
    def checkpoints(self) -> Path:
        """Trained models."""
        return self.home / "checkpoints"

    @property
    def reports(self) -> Path:
        """Pages for people."""
        return self.home / "reports"

    @property
    def training_states(self) -> Path:
        """What trainings and searches under way need to go on after a crash."""
        return self.home / "training"

    @property
    def warehouse(self) -> Path:
        """The DuckDB file with lineage, fitted count models and metrics."""
        return self.home / "warehouse.duckdb"

    @property
    def alerts(self) -> Path:
        """One line for every run that failed."""
        return self.home / "alerts.log"

    @property
    def scratch(self) -> Path:
        """Files that no one will miss after a crash."""
        return self.home / "scratch"

    @property
    def dagster_home(self) -> Path:
        """Dagster's own storage for this feed."""
        return self.home / "dagster"


def default_home() -> Path:
    """The home when nobody names one: see the module's text."""
    if named := os.environ.get("SESSREC_HOME"):
        return Path(named)
    own = Path("data")
    landing = own / "landing"
    has_logs = landing.is_dir() and any(not path.name.startswith(".") for path in landing.iterdir())
    return own if has_logs or (own / "sessrec.toml").exists() else own / "demo"


def load_settings(home: Path | None = None) -> Settings:
    """Read the settings of ``home`` (default: ``default_home()``).

    Raises SettingsError with one line per field that cannot be used.
    """
    home = (home or default_home()).expanduser().resolve()
    try:
        return Settings(home=home)
    except ValidationError as error:
        lines = [
            f"  {'.'.join(str(part) for part in problem['loc']) or 'settings'}: {_sentence(problem)}"
            for problem in error.errors()
        ]
        raise SettingsError(
            f"{home / 'sessrec.toml'} or SESSREC_* variables cannot be used:\n" + "\n".join(lines)
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{home / 'sessrec.toml'} is not valid TOML: {error}") from None
    except ValueError as error:  # a variable that should hold JSON (a list, a table) and does not
        raise SettingsError(f"a SESSREC_* variable cannot be used: {error}; write lists and tables as JSON") from None


def _sentence(problem: ErrorDetails) -> str:
    """What is wrong with a field, in words of ours where pydantic's are not for the person who wrote the file."""
    if problem["type"] != "extra_forbidden":
        return problem["msg"].removeprefix("Value error, ")
    model: type[BaseModel] = Settings
    *path, name = problem["loc"]
    for part in path:
        annotation = model.model_fields[str(part)].annotation if str(part) in model.model_fields else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return "this name is not known"
        model = annotation
    near = difflib.get_close_matches(str(name), model.model_fields, 1)
    return "this name is not known" + (f"; did you mean {near[0]!r}?" if near else "")
