"""`gradatim.toml`: frozen, validated settings, one record per stage."""

from __future__ import annotations

from gradatim.config.checks import COMMAND_LINE, check, looks_like_key
from gradatim.config.loading import load, parse, updated
from gradatim.config.models import BatchSettings, BudgetSettings, ModelSettings, PriceSettings, PrmSettings
from gradatim.config.settings import (
    CALIBRATION,
    QUINTILES,
    AttemptSettings,
    CalibrateSettings,
    CodeSettings,
    CompareSettings,
    Config,
    CurateSettings,
    EvaluateSettings,
    ExportSettings,
    GradeSettings,
    IngestSettings,
    ReportSettings,
    SampleSettings,
    TeachSettings,
    TrainSettings,
    VerifySettings,
)

__all__ = [
    "CALIBRATION",
    "COMMAND_LINE",
    "QUINTILES",
    "AttemptSettings",
    "BatchSettings",
    "BudgetSettings",
    "CalibrateSettings",
    "CodeSettings",
    "CompareSettings",
    "Config",
    "CurateSettings",
    "EvaluateSettings",
    "ExportSettings",
    "GradeSettings",
    "IngestSettings",
    "ModelSettings",
    "PriceSettings",
    "PrmSettings",
    "ReportSettings",
    "SampleSettings",
    "TeachSettings",
    "TrainSettings",
    "VerifySettings",
    "check",
    "load",
    "looks_like_key",
    "parse",
    "updated",
]
