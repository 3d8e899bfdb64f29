"""What the fixture of a small demo feed gives."""

from dataclasses import dataclass

import pandas as pd

from assets.compute import Compute
from assets.studies import fits
from sessrec_pipeline.feed import FeedSettings
from sessrec_pipeline.storage.store import Stored
from sessrec_pipeline.studies.laboratory import Laboratory
from sessrec_pipeline.studies.study import Study


@dataclass(frozen=True)
class Feed:
    """A feed's settings and its artefacts by asset."""

    settings: FeedSettings
    stored: dict[str, Stored]

    def laboratory(self, **sections: object) -> Laboratory:
        settings = self.settings.model_copy(update=sections)
        compute = Compute(settings.compute)
        return Laboratory(settings, fits(settings, compute), compute)

    def table(self, study: Study, **sections: object) -> pd.DataFrame:
        with self.laboratory(**sections) as laboratory:
            return study.measure(laboratory, self.stored).to_pandas()
