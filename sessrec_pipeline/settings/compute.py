"""Where work runs: engine, device, processes or pods, and what runs by itself."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from sessrec_pipeline.settings.base import Section


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
    reread_hours: Annotated[float, Field(ge=0)] | None = 24
    """A log whose size and times have not changed is read again after so many hours, one at a look, for not every drive
    says that a file was replaced; None: never."""
    nightly: str = "0 3 * * *"
    """Cron line (UTC) of the nightly schedule, which is off until it is switched on in the UI."""
    stale_after_hours: Annotated[float, Field(ge=1)] | None = None
    """Logs, checkpoint and leaderboard are shown as stale so many hours after a log was last taken, or they were last
    made; None: never."""
