"""A class for each model, made from its card: keyword settings, fit, recommend, save."""

import json
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache, cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, get_args

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sessrec_pipeline.api.documentation import class_name, documentation, signature
from sessrec_pipeline.api.events import events_of, workspace, write_events
from sessrec_pipeline.api.frames import Columns, TimeUnit, text_of, texts
from sessrec_pipeline.api.options import Device, Progress, computing, reporting, validated
from sessrec_pipeline.engine import DuckDBEngine
from sessrec_pipeline.evaluation.ranking import rows_at_once
from sessrec_pipeline.feed import load_settings
from sessrec_pipeline.models.base import Card, Recommender, Sessions, best_of
from sessrec_pipeline.models.registry import card_of, cards
from sessrec_pipeline.settings import Section, SettingsError
from sessrec_pipeline.storage.checkpoints import Checkpoint, read_checkpoint, read_lineage, write_checkpoint
from sessrec_pipeline.storage.files import DamagedFileError, OtherVersionError, replacing
from sessrec_pipeline.storage.lineage import Lineage, Node
from sessrec_pipeline.storage.store import Store
from sessrec_pipeline.storage.versions import VERSIONS
from sessrec_pipeline.training.fit import fit_of, fit_table, load_checkpoint
from sessrec_pipeline.training.freshness import outdated

Id = str | int
Fallback = Literal["popularity"]
CANDIDATES_AT_ONCE = 200_000
"""Candidates that a model is asked for at once: those of a network are gathered, a vector each."""


class NotFittedError(RuntimeError):
    """A model that is asked before it was fitted or loaded."""


class State:
    """A fitted model at work: the checkpoint that it is, and what is made of it when it is first needed."""

    def __init__(self, checkpoint: Checkpoint, losses: tuple[float, ...]) -> None:
        self.checkpoint, self.losses = checkpoint, losses

    @cached_property
    def index(self) -> dict[str, int]:
        """Index of each item id."""
        return {item: i for i, item in enumerate(self.checkpoint.items)}


class Model:
    """What all models have; ``sessrec_pipeline`` has a class for each, and ``model(name)`` makes one by its name."""

    card: ClassVar[Card[Any]]
    """What the pipeline knows of the model: its name, title, source, settings."""

    def __init__(self, *, device: Device = "auto", **settings: Any) -> None:
        """SettingsError where a setting is unknown or its value cannot be used."""
        if not hasattr(type(self), "card"):
            raise TypeError('Model is what all models have in common: take a class such as VSTAN, or model("vstan")')
        self._given: dict[str, Any] = {}
        self._fitted: State | None = None
        self._recommender: tuple[str, Recommender] | None = None
        self.set_params(device=device, **settings)

    # --- settings ----------------------------------------------------------------------------------------------------

    @property
    def settings(self) -> Any:
        """The settings that ``fit`` will use, all of them; read only: ``set_params`` changes them."""
        return self._settings

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Settings and device by name, as scikit-learn's ``clone`` and its searches ask for them."""
        return {**dict(self._settings), **self._given, "device": self.device}

    def set_params(self, **params: Any) -> Self:
        """Change settings for the next ``fit``; a model that is fitted stays as it was fitted."""
        device = params.pop("device", getattr(self, "device", "auto"))
        if device not in get_args(Device):
            raise SettingsError(f'{type(self).__name__}: device is "auto", "cpu" or "cuda", not {device!r}')
        given = {**self._given, **params}
        self._settings: Section = validated(self.card.settings, given, type(self).__name__)
        self._given, self.device = given, device
        return self

    def __repr__(self) -> str:
        changed = {name: value for name, value in self._settings if value != getattr(self.card.settings(), name)}
        if self.device != "auto":
            changed["device"] = self.device
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in changed.items())})"

    # --- fitting -----------------------------------------------------------------------------------------------------

    def fit(
        self,
        train: object,
        *,
        progress: Progress = False,
        session: str = "session",
        item: str = "item",
        time: str = "time",
        time_unit: TimeUnit | None = None,
    ) -> Self:
        """Fit the model on the training events, as the graph fits it; returns the model.

        train: the train part of ``temporal_split``; or a frame as there, of which nothing is left out.
        progress: True for a bar while a network trains, or a function of the events done and all of them.

        Raises FrameError, and TrainingDiverged where the loss of a network is no number. A model whose fit failed, or
        was interrupted, stays as it was.
        """
        card, section = self.card, self._settings
        events = events_of(train, Columns(session, item, time, time_unit))
        with workspace(**{card.section: section}) as settings, DuckDBEngine(settings) as engine:
            path = write_events(events, settings.home / "train.parquet")
            tables = {table.name: fit_table(table, engine, path, settings).arrow() for table in card.tables}
        shown = progress if card.training else False
        with computing(card, self.device) as device, reporting(shown, f"fitting {card.title}") as told:
            fitted = fit_of(card)(card, section, tables, lambda: events.table, device, told)
        checkpoint = Checkpoint(card.name, fitted.arrays, section.model_dump(mode="json"), fitted.items)
        self._fitted, self._recommender = State(checkpoint, fitted.losses), None
        return self

    @property
    def fitted(self) -> bool:
        """Whether the model was fitted or loaded."""
        return self._fitted is not None

    def __sklearn_is_fitted__(self) -> bool:
        return self.fitted

    @property
    def items(self) -> list[str]:
        """The catalogue that the model ranks: ids of the training items, the most popular one first."""
        return list(self._state.checkpoint.items)

    @property
    def losses(self) -> tuple[float, ...]:
        """Training loss of each epoch; empty for a model that is counted, not trained."""
        return self._state.losses

    @property
    def _state(self) -> State:
        if self._fitted is None:
            raise NotFittedError(f"{self!r} is not fitted yet: call fit(train), or load a fitted one")
        return self._fitted

    def recommender(self, device: str) -> Recommender:
        """The fitted model on a device, as the evaluator and the pipeline ask it; under the settings of its fit."""
        checkpoint = self._state.checkpoint
        if self._recommender is None or self._recommender[0] != device:
            self._recommender = device, load_checkpoint(self.card, checkpoint, device)
        return self._recommender[1]

    # --- asking ------------------------------------------------------------------------------------------------------

    def recommend(
        self,
        session: Iterable[Id],
        k: int = 10,
        *,
        exclude_seen: bool = False,
        exclude: Iterable[Id] = (),
        only: Iterable[Id] | None = None,
        fallback: Fallback | None = None,
    ) -> pd.DataFrame:
        """The ``k`` items that most likely come next: a frame of item and score, the best one first.

        session: ids of the session's items so far, the oldest one first.
        exclude_seen: leave out the items of the session itself; by default they are ranked as any other, as in the
            evaluation.
        exclude: further items to leave out.
        only: items to choose from, such as what is in stock; by default the whole catalogue. ValueError where the
            model knows none of them.
        fallback: "popularity" answers a session without any item that the model knows by the most popular items,
            without a score; by default that is a ValueError.

        Items that the model does not know are left out of the session with a warning; in ``exclude`` and ``only`` they
        have no effect. Among equal scores the more popular item comes first. Fewer than ``k`` rows where no more items
        are left to choose from.
        """
        index, ids = self._state.index, texts(session, "the session")
        if unknown := [item for item in dict.fromkeys(ids) if item not in index]:
            shown = ", ".join(map(repr, unknown[:5])) + (", ..." if len(unknown) > 5 else "")
            _warn(f"not among the {len(index):,} items of the model, left out of the session: {shown}")
        known = [index[item] for item in ids if item in index]
        if not known and fallback is None:
            what = "no item of the session is" if ids else "the session is empty, so no item of it is"
            raise ValueError(
                f'{what} among the {len(index):,} items of the model: give fallback="popularity" for the most popular '
                "items instead"
            )
        [(best, scores)] = self._lists(Sessions.from_lists([known]), k, exclude_seen, exclude, only, fallback)
        return pd.DataFrame({"item": self._names(best), "score": scores})

    def recommend_many(
        self,
        sessions: object,
        k: int = 10,
        *,
        exclude_seen: bool = False,
        exclude: Iterable[Id] = (),
        only: Iterable[Id] | None = None,
        fallback: Fallback | None = None,
        session: str = "session",
        item: str = "item",
        time: str = "time",
        time_unit: TimeUnit | None = None,
    ) -> pd.DataFrame:
        """A list for each of many sessions: a frame of session, rank (1 for the best), item and score.

        sessions: the test part of a split or a frame, as for ``temporal_split``, of which the list is what comes after
            each session's last event; a mapping of session ids to lists of items; or a list of lists, which are
            numbered from 0. The sessions come in the order of their first event, or as they are given.

        All else is as for ``recommend``; sessions without any item that the model knows are left out with a warning,
        unless there is a ``fallback``.
        """
        names, codes, lengths = self._coded(sessions, Columns(session, item, time, time_unit))
        unknown = int((codes < 0).sum())
        numbers = np.repeat(np.arange(len(names)), lengths)
        known = np.bincount(numbers[codes >= 0], minlength=len(names))
        if unknown:
            empty = int((known == 0).sum())
            without = f"; {empty:,} of {len(names):,} sessions have no other" if empty else ""
            lost = ' and have no list (fallback="popularity" gives them one)' if empty and fallback is None else ""
            _warn(f"{unknown:,} events on items that the model does not know are left out{without}{lost}")
        kept = np.arange(len(names)) if fallback else np.flatnonzero(known)
        offsets = np.concatenate([[0], np.cumsum(known[kept])]).astype(np.int64)
        asked = Sessions(codes[codes >= 0].astype(np.int32), offsets)
        lists = list(self._lists(asked, k, exclude_seen, exclude, only, fallback))
        sizes = [len(best) for best, _ in lists]
        ranks = [np.arange(1, size + 1) for size in sizes]
        chosen = np.concatenate([best for best, _ in lists]) if lists else np.empty(0, np.int64)
        return pd.DataFrame(
            {
                "session": pd.Series(names).take(np.repeat(kept, sizes)).reset_index(drop=True),
                "rank": np.concatenate(ranks) if ranks else np.empty(0, np.int64),
                "item": self._names(chosen),
                "score": np.concatenate([scores for _, scores in lists]) if lists else np.empty(0),
            }
        )

    def similar_items(self, item: Id, k: int = 10) -> pd.DataFrame:
        """The ``k`` items most like one: a frame of item and score, the most similar one first.

        By the cosine of the vectors of a network, or by the neighbours or successors that a table of items has.
        NotImplementedError where the model has neither; ValueError for an item that it does not know.
        """
        name, index = text_of(item, "item"), self._state.index
        if name not in index:
            raise ValueError(f"{name!r} is not among the {len(index):,} items of the model")
        with computing(self.card, self.device) as device:
            found = self.recommender(device).similar(index[name], _checked(k))
        if found is None:
            raise NotImplementedError(f"{self.card.title} has neither vectors nor neighbours of items")
        return pd.DataFrame({"item": self._names(found[0]), "score": found[1]})

    def _names(self, indices: NDArray[np.integer]) -> list[str]:
        items = self._state.checkpoint.items
        return [items[i] for i in indices.tolist()]

    def _coded(self, sessions: object, columns: Columns) -> tuple[Sequence[Id], NDArray[np.int64], NDArray[np.int64]]:
        """Session names, item index of each event (-1: unknown), and the events of each session."""
        index = self._state.index
        if isinstance(sessions, list | tuple):
            sessions = dict(enumerate(sessions))
        if isinstance(sessions, Mapping):
            lists = [texts(items, f"session {name!r}") for name, items in sessions.items()]
            codes = np.array([index.get(item, -1) for items in lists for item in items], dtype=np.int64)
            return list(sessions), codes, np.array([len(items) for items in lists], dtype=np.int64)
        events = events_of(sessions, columns)
        found = pc.index_in(events.table["item"], pa.array(self._state.checkpoint.items, pa.string())).fill_null(-1)
        _, lengths = np.unique(events.table["session_number"].to_numpy(), return_counts=True)
        first = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        return events.table["session"].take(pa.array(first)).to_pylist(), found.to_numpy().astype(np.int64), lengths

    def _lists(
        self,
        sessions: Sessions,
        k: int,
        exclude_seen: bool,
        exclude: Iterable[Id],
        only: Iterable[Id] | None,
        fallback: Fallback | None,
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.floating]]]:
        """Item indices and scores of each session's list; a session without events has the fallback's."""
        _checked(k)
        if fallback not in (None, *get_args(Fallback)):
            raise ValueError(f'fallback is "popularity" or None, not {fallback!r}')
        index = self._state.index
        excluded = np.array([index[i] for i in texts(exclude, "exclude") if i in index], dtype=np.int64)
        allowed = np.arange(len(index))
        if only is not None:
            ids = texts(only, "only")
            allowed = np.unique(np.array([index[i] for i in ids if i in index], dtype=np.int64))
            if ids and not len(allowed):
                raise ValueError(
                    f"none of the items of only, such as {ids[0]!r}, is among the {len(index):,} items of the model"
                )
        free = ~np.isin(allowed, excluded)
        batch = rows_at_once(len(index), 256)
        if only is not None:
            batch = max(1, min(batch, CANDIDATES_AT_ONCE // max(1, len(allowed))))
        with computing(self.card, self.device) as device:
            recommender = self.recommender(device)
            for start in range(0, len(sessions), batch):
                offsets = sessions.offsets[start : start + batch + 1]
                part = Sessions(sessions.items[offsets[0] : offsets[-1]], offsets - offsets[0])
                asked = np.flatnonzero(part.lengths)
                known = Sessions(part.items, np.append(part.offsets[asked], len(part.items)))
                if not len(asked) or not len(allowed):
                    scores: NDArray[np.floating] = np.empty((len(asked), len(allowed)))
                elif only is None:
                    scores = recommender.score_last(known)
                else:
                    scores = recommender.score_candidates(known, np.tile(allowed, (len(asked), 1)))
                rows = iter(scores)
                for session, length in enumerate(part.lengths.tolist()):
                    choice = free
                    if exclude_seen:
                        seen = part.items[part.offsets[session] : part.offsets[session + 1]]
                        choice = free & ~np.isin(allowed, seen)
                    open_to = np.flatnonzero(choice)
                    if length:
                        row = next(rows)[open_to]
                        best = best_of(row, k)
                        yield allowed[open_to[best]], row[best]
                    else:  # the catalogue is in the order of popularity
                        yield allowed[open_to[:k]], np.full(len(open_to[:k]), np.nan)

    # --- files -------------------------------------------------------------------------------------------------------

    def save(self, path: str | Path) -> Path:
        """Write the fitted model to one file, whole or not at all; returns its path.

        The file is safetensors, as the pipeline's own checkpoints: arrays, and in the JSON header the model's name,
        settings, items, and the sha256 of all that. No pickle: reading it runs no code.
        """
        state, path = self._state, Path(path)
        stats: dict[str, int | float | str] = {"title": self.card.title, "losses": json.dumps(state.losses)}
        node = Node(
            asset=self.card.checkpoint,
            partition=None,
            data_version=state.checkpoint.content_hash(),
            code_version="",
            config={},
            engine="python",
            run_id="",
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            stats=stats,
        )
        with replacing(path) as temporary:
            write_checkpoint(temporary, state.checkpoint, Lineage(node))
        return path


def load(path: str | Path, *, device: Device = "auto") -> Model:
    """A fitted model from the file that ``Model.save``, or the pipeline as ``<model>_checkpoint``, has written.

    DamagedFileError (a ValueError) where the file is damaged or something else, ModelNameError where nobody
    registers its model, FileNotFoundError where there is none.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is {'a folder, not the file of a model' if path.is_dir() else 'not there'}")
    try:
        checkpoint, lineage = read_checkpoint(path), read_lineage(path)
    except DamagedFileError as error:
        raise DamagedFileError(path, error.problem, "copy it again from where it is whole, or save it again") from error
    try:
        loaded = model(checkpoint.model, device=device, **checkpoint.config)
    except SettingsError as error:
        raise SettingsError(f"{path} was saved by another version of the model: {error}") from error
    _warn_if_outdated(path, checkpoint.model)
    losses = json.loads(str(lineage.node.stats.get("losses", "[]"))) if lineage else []
    loaded._fitted = State(checkpoint, tuple(losses))
    return loaded


def _warn_if_outdated(path: Path, name: str) -> None:
    """Warn of a file that lies in a feed's home and is not what the feed's logs and settings of today would make."""
    path = path.resolve()
    if path.parent.name != VERSIONS or len(path.parents) < 5 or not (path.parents[3] / "layout").is_file():
        return
    home = path.parents[3]
    try:
        store = Store(load_settings(home))
        stored = store.at(path)
    except (SettingsError, OtherVersionError):
        return  # the model answers all the same
    if stored is not None and (reason := outdated(store, stored)):
        warnings.warn(
            f"{name} of {home} is not up to date: {reason}; `sessrec materialize` makes it anew",
            UserWarning,
            stacklevel=3,
        )


def model(name: str, **settings: Any) -> Model:
    """A model by the name of its card, such as "vstan", with these settings; also one that another package registers.

    ModelNameError where there is none of this name, SettingsError where a setting cannot be used.
    """
    return class_of(card_of(name).name)(**settings)


def _checked(k: int) -> int:
    if not isinstance(k, int | np.integer) or isinstance(k, bool) or k < 1:
        raise ValueError(f"k must be a whole number from 1 on, not {k!r}")
    return int(k)


def _warn(sentence: str) -> None:
    warnings.warn(sentence, UserWarning, stacklevel=3)


# --- classes from cards ----------------------------------------------------------------------------------------------


@cache
def classes() -> dict[str, type[Model]]:
    """The class of each model by its name; where two cards ask for one name, the first registered card has it."""
    found: dict[str, type[Model]] = {}
    for card in cards().values():
        found.setdefault(class_name(card), class_of(card.name))
    return found


@cache
def class_of(name: str) -> type[Model]:
    """The class of the card called ``name``."""
    card = card_of(name)
    members = {"card": card, "__doc__": documentation(card), "__module__": "sessrec_pipeline"}
    made = type(class_name(card), (Model,), members)
    made.__signature__ = signature(card)  # type: ignore[attr-defined]
    return made
