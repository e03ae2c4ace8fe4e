"""Gradatim: find out what your model cannot solve yet, and turn that into the chains of thought that teach it most.

    import gradatim as gr

    with gr.Library("library.db", write=True) as library:
        gr.ingest(library, gr.IngestSettings(path="pool.jsonl"))
        gr.attempt(library, gr.Endpoint(name="my-model", base_url="http://localhost:8000/v1"))
        gr.verify(library)
        gr.grade(library, gr.GradeSettings(rule="rate"))

The words are those of the command line. Names are loaded when they are first used, so importing this is quick.
"""

from __future__ import annotations

import importlib

__version__ = "0.1.0"

_HOMES = {
    "gradatim.library.store": ("Library",),
    "gradatim.stages.ingest": ("ingest", "IngestResult"),
    "gradatim.stages.attempt": ("attempt", "AttemptResult"),
    "gradatim.stages.record": ("record", "RecordResult"),
    "gradatim.stages.verify": ("verify", "VerifyResult"),
    "gradatim.stages.calibrate": ("calibrate", "CalibrateResult"),
    "gradatim.stages.grade": ("grade", "GradeResult"),
    "gradatim.stages.sample": ("sample", "SampleResult"),
    "gradatim.stages.teach": ("teach", "TeachResult"),
    "gradatim.stages.curate": ("curate", "CurateResult"),
    "gradatim.stages.export": ("export", "ExportResult"),
    "gradatim.stages.evaluate": ("evaluate", "EvaluateResult"),
    "gradatim.stages.train": ("train", "TrainResult"),
    "gradatim.stages.handoff": ("hand_off", "HandoffResult"),
    "gradatim.stages.report": ("report", "ReportResult"),
    "gradatim.pipeline": ("run",),
    "gradatim.planning": ("plan",),
    "gradatim.work.spending": ("spent",),
    "gradatim.comparing.compare": ("compare", "CompareResult"),
    "gradatim.config": (
        "Config",
        "load",
        "IngestSettings",
        "ModelSettings",
        "AttemptSettings",
        "VerifySettings",
        "CodeSettings",
        "PrmSettings",
        "CalibrateSettings",
        "GradeSettings",
        "SampleSettings",
        "TeachSettings",
        "CurateSettings",
        "ExportSettings",
        "EvaluateSettings",
        "TrainSettings",
        "ReportSettings",
        "CompareSettings",
    ),
    "gradatim.models.endpoint": ("Endpoint",),
    "gradatim.models.batch_api": ("BatchEndpoint",),
    "gradatim.models.local": ("LocalModel",),
    "gradatim.models.pace": ("EngineSettings",),
    "gradatim.models.budget": ("Budget", "Price"),
    "gradatim.models.mock_server": ("MockServer", "MockSettings"),
    "gradatim.checkers.math": ("MathChecker",),
    "gradatim.checkers.choice": ("ChoiceChecker",),
    "gradatim.prm.local": ("LocalPRM",),
    "gradatim.prm.pooling": ("PoolingPRM",),
    "gradatim.prm.chat": ("ChatPRM",),
    "gradatim.prm.critic": ("critic",),
    "gradatim.prm.rlhflow": ("RLHFLOW_CHAT",),
    "gradatim.types": ("Question", "Sampling", "Verdict", "Outcome", "StepScores", "Fault"),
    "gradatim.errors": ("GradatimError", "UsageError", "LibraryError", "SetupError", "LimitError"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = ["__version__", *_HOME_OF]  # noqa: PLE0604 - strings, made from the table above


def __getattr__(name: str) -> object:
    """Load a public name from its home."""
    if name not in _HOME_OF:
        raise AttributeError(f"module 'gradatim' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(__all__)
