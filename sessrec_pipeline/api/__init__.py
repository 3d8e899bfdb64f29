"""Models, splits and evaluation on DataFrames: the code of the asset graph, without a home and without Dagster.

``frames`` reads what a caller has, ``events`` splits it, ``models`` has a class for each card, ``evaluation`` the
leaderboard; ``stub`` writes names and settings down for type checkers. Work is done in temporary folders that are gone
afterwards, whatever happens.
"""

from sessrec_pipeline.api.evaluation import compare, evaluate
from sessrec_pipeline.api.events import Events, temporal_split
from sessrec_pipeline.api.frames import FrameError
from sessrec_pipeline.api.models import Model, load, model

__all__ = ["Events", "FrameError", "Model", "compare", "evaluate", "load", "model", "temporal_split"]
