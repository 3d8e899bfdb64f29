"""Everything a person can choose: a module for each subject. The settings of a model stand beside the model."""

from sessrec_pipeline.settings.base import Section, SettingsError
from sessrec_pipeline.settings.compute import AutomationSettings, ComputeSettings, EngineSettings
from sessrec_pipeline.settings.drift import DriftSettings
from sessrec_pipeline.settings.evaluation import EvaluationSettings, PublishedFigure, TieRule
from sessrec_pipeline.settings.feed import Settings, default_home, read_settings
from sessrec_pipeline.settings.logs import LogSettings, RowRule, log_presets
from sessrec_pipeline.settings.preparation import SessionSettings, SplitSettings
from sessrec_pipeline.settings.storage import StorageSettings
from sessrec_pipeline.settings.studies import StudySettings
from sessrec_pipeline.settings.synthetic import SyntheticSettings
from sessrec_pipeline.settings.training import TrainingSettings

__all__ = [
    "AutomationSettings",
    "ComputeSettings",
    "DriftSettings",
    "EngineSettings",
    "EvaluationSettings",
    "LogSettings",
    "PublishedFigure",
    "RowRule",
    "Section",
    "SessionSettings",
    "Settings",
    "SettingsError",
    "SplitSettings",
    "StorageSettings",
    "StudySettings",
    "SyntheticSettings",
    "TieRule",
    "TrainingSettings",
    "default_home",
    "log_presets",
    "read_settings",
]
