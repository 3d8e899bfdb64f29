"""How models are trained and tuned."""

import re
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from sessrec_pipeline.settings.base import Section


class TrainingSettings(Section):
    """How models are trained beside their hyper-parameters; what is chosen is chosen inside train."""

    warm_start: bool = False
    """Train on from the last checkpoint with the sessions that came since, instead of from nothing."""
    validate_epochs: bool = False
    """Add the asset <model>_validation of each trained model: metrics after each epoch on the tuning split; the best
    epoch is what its checkpoint trains."""
    patience: Annotated[int, Field(ge=1)] = 2
    """Validation stops after so many epochs without a better one."""
    metric: Literal["recall", "mrr"] = "mrr"
    """What validation and tuning look at, for all models, at the largest cutoff under the conservative tie rule."""
    tuning_trials: Annotated[int, Field(ge=0)] = 0
    """Add the asset <model>_tuning of each model that has something to tune: so many trials of Optuna (extra
    ``tuning``); the best settings are what the model is fitted with."""
    study: SecretStr | None = None
    """Database of the trials of searches, as a URL of SQLAlchemy (``postgresql://user:password@host/database``). By
    default each search has a SQLite file in the feed's home, for processes of one machine: SQLite is not safe on
    network drives, so machines that share no local disk name a database. ``SESSREC_TRAINING__STUDY`` keeps the password
    out of the file."""
    launcher: Literal["none", "torchrun"] = "none"
    """Who starts what trains the checkpoint. none: the step itself trains; torchrun: several processes share out each
    mini-batch, for the same weights up to the rounding of float32 sums."""
    processes: Annotated[int, Field(ge=1)] = 1
    """torchrun: processes on each node, on a GPU node one for each GPU."""
    nodes: Annotated[int, Field(ge=1)] = 1
    """torchrun: machines, all of which see the feed's home under the same path."""
    rendezvous: str | None = Field(default=None, pattern=r"^(\[[0-9a-fA-F:]+\]|[^\s/:\[\]-][^\s/:\[\]]*):\d{1,5}$")
    """torchrun, more than one node: ``host:port`` where they meet; the host is one of them."""

    @property
    def tunes(self) -> bool:
        """Whether anything is chosen on the split inside train."""
        return self.validate_epochs or self.tuning_trials > 0

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
