"""Measure labeled images, get a fine-tuning recipe with its reasons, run it.

The names below are loaded when they are first used: importing this package loads neither torch nor timm.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from finetune_advisor.backbones import registration
from finetune_advisor.version import __version__

if TYPE_CHECKING:
    from finetune_advisor.advice.advise import Advice, advise
    from finetune_advisor.advice.table import place
    from finetune_advisor.analysis.analyze import analyze
    from finetune_advisor.comparison import compare
    from finetune_advisor.diagnosis.diagnose import diagnose
    from finetune_advisor.inference.predictor import Predictor
    from finetune_advisor.inference.run import Classification, Run
    from finetune_advisor.recipes.load import load_recipe
    from finetune_advisor.recipes.recipe import Recipe
    from finetune_advisor.records.diagnosis import Diagnosis
    from finetune_advisor.records.ensemble import Ensemble, ExportForm
    from finetune_advisor.records.profile import Profile
    from finetune_advisor.records.rundir import RunDir
    from finetune_advisor.training.trainer import train
    from finetune_advisor.workflows.ensemble import ensemble
    from finetune_advisor.workflows.export import export

_HOME = {
    "Advice": "advice.advise",
    "Classification": "inference.run",
    "Diagnosis": "records.diagnosis",
    "Ensemble": "records.ensemble",
    "ExportForm": "records.ensemble",
    "Predictor": "inference.predictor",
    "Profile": "records.profile",
    "Recipe": "recipes.recipe",
    "Run": "inference.run",
    "RunDir": "records.rundir",
    "advise": "advice.advise",
    "analyze": "analysis.analyze",
    "compare": "comparison",
    "diagnose": "diagnosis.diagnose",
    "ensemble": "workflows.ensemble",
    "export": "workflows.export",
    "load_recipe": "recipes.load",
    "place": "advice.table",
    "train": "training.trainer",
}

__all__ = [
    "Advice",
    "Classification",
    "Diagnosis",
    "Ensemble",
    "ExportForm",
    "Predictor",
    "Profile",
    "Recipe",
    "Run",
    "RunDir",
    "__version__",
    "advise",
    "analyze",
    "compare",
    "diagnose",
    "ensemble",
    "export",
    "load_recipe",
    "place",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


registration.install()
