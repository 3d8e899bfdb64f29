"""Everything a person can choose, read from ``sessrec.toml`` in the feed's home and from ``SESSREC_*``.

One home holds one feed (one shop, one data set): its landed logs, its lake, its warehouse, its models.
``SESSREC_HOME`` names the home. Without it the home is ``data/`` as soon as that holds a ``sessrec.toml`` or a
landed log, and the built-in demo's home ``data/demo`` until then.

A field ``[split] days`` is also ``SESSREC_SPLIT__DAYS``; the environment outranks the file.
"""

import difflib
import os
import tomllib
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from sessrec_pipeline.settings.base import Section, SettingsError, in_words
from sessrec_pipeline.settings.compute import AutomationSettings, ComputeSettings, EngineSettings
from sessrec_pipeline.settings.drift import DriftSettings
from sessrec_pipeline.settings.evaluation import EvaluationSettings, PublishedFigure
from sessrec_pipeline.settings.logs import LogSettings
from sessrec_pipeline.settings.preparation import SessionSettings, SplitSettings
from sessrec_pipeline.settings.storage import StorageSettings
from sessrec_pipeline.settings.studies import StudySettings
from sessrec_pipeline.settings.synthetic import SyntheticSettings
from sessrec_pipeline.settings.training import TrainingSettings


class _TomlFile(TomlConfigSettingsSource):
    """A file of TOML as editors save it: with a byte-order mark or without."""

    def _read_file(self, file_path: Path | Traversable) -> dict[str, Any]:
        content = file_path.read_bytes()
        if b"\0" in content:  # of every other character, where letters have two bytes
            raise SettingsError(
                f"{file_path} is not valid TOML: it is saved as UTF-16, or is no text at all; save it as UTF-8"
            )
        try:
            return tomllib.loads(content.decode("utf-8-sig"))
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            raise SettingsError(
                f"{file_path} is not valid TOML: line {line} is not UTF-8; save the file as UTF-8"
            ) from None


class Settings(BaseSettings):
    """The core settings of one feed; ``sessrec_pipeline.feed`` adds a section for each registered model."""

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
    models: list[str] = []
    """Models to build and rank, by default all; popularity, which is the catalogue, is always among them, and so is the
    oracle of a synthetic feed."""
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
        if "\\" in str(home):
            raise ValueError(f"{home} holds \\, which DuckDB takes for the end of a folder's name; rename the folder")
        if any("\ud800" <= character <= "\udfff" for character in str(home)):
            raise ValueError(f"{str(home)!r} holds bytes that are no UTF-8; rename the folder")
        return home

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
        return init_settings, env_settings, _TomlFile(settings_cls, home / "sessrec.toml")

    def section(self, name: str) -> Section:
        """The section called ``name``, such as that of a model."""
        found: Section = getattr(self, name)
        return found

    @property
    def landing(self) -> Path:
        """Where logs land."""
        return self.home / "landing"

    @property
    def lake(self) -> Path:
        """Parquet tables, a folder an asset."""
        return self.home / "lake"

    @property
    def kept(self) -> Path:
        """Compressed copies of landed logs."""
        return self.home / "kept"

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


S = TypeVar("S", bound=Settings)


def read_settings(settings: type[S], home: Path | None = None) -> S:
    """Read the settings of ``home`` (default: ``default_home()``) as the class ``settings``.

    Raises SettingsError with one line per field that cannot be used.
    """
    home = home or default_home()
    try:
        home = home.expanduser().resolve()
    except RuntimeError as error:  # of ~, where the user has no folder, or of links that lead in a circle
        raise SettingsError(f"the home {home} cannot be found: {error}") from None
    toml = home / "sessrec.toml"
    if not toml.is_file() and (toml.is_symlink() or toml.exists()):
        raise SettingsError(f"{toml} is no file, or leads to none; its settings cannot be read")
    try:
        return settings(home=home)
    except SettingsError:
        raise
    except ValidationError as error:
        problems = error.errors()
        if problems[0]["loc"] == ("home",):
            raise SettingsError(f"the home {_sentence(settings, problems[0])}") from None
        lines = [
            f"  {'.'.join(str(part) for part in problem['loc']) or 'settings'}: {_sentence(settings, problem)}"
            for problem in problems
        ]
        raise SettingsError(f"{toml} or SESSREC_* variables cannot be used:\n" + "\n".join(lines)) from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{toml} is not valid TOML: {error}") from None
    except ValueError as error:  # a variable that should hold JSON (a list, a table) and does not
        raise SettingsError(f"a SESSREC_* variable cannot be used: {error}; write lists and tables as JSON") from None


def _sentence(settings: type[BaseModel], problem: ErrorDetails) -> str:
    """What is wrong with a field, in words of ours where pydantic's are not for the person who wrote the file."""
    if problem["type"] != "extra_forbidden":
        return in_words(problem)
    model = settings
    *path, name = problem["loc"]
    for part in path:
        annotation = model.model_fields[str(part)].annotation if str(part) in model.model_fields else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return "this name is not known"
        model = annotation
    near = difflib.get_close_matches(str(name), model.model_fields, 1)
    return "this name is not known" + (f"; did you mean {near[0]!r}?" if near else "")
