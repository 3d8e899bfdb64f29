"""What the fixture of a small demo feed gives."""

from dataclasses import dataclass

import pandas as pd

from sessrec_pipeline.feed import FeedSettings
from sessrec_pipeline.storage.store import Stored
from sessrec_pipeline.studies.laboratory import Laboratory
from sessrec_pipeline.studies.study import Study
from sessrec_pipeline.training.device import Compute


@dataclass(frozen=True)
class Feed:
    """A feed's settings and its artefacts by asset."""

    settings: FeedSettings
    stored: dict[str, Stored]

    def laboratory(self, **sections: object) -> Laboratory:
        settings = self.settings.model_copy(update=sections)
        return Laboratory(settings, Compute(settings.compute))

    def table(self, study: Study, **sections: object) -> pd.DataFrame:
        with self.laboratory(**sections) as laboratory:
            return study.measure(laboratory, self.stored).to_pandas()
