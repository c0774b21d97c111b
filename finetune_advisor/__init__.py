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
    from finetune_advisor.artifacts.diagnosis import Diagnosis
    from finetune_advisor.artifacts.ensemble import Ensemble
    from finetune_advisor.artifacts.profile import Profile
    from finetune_advisor.artifacts.recipe import Recipe
    from finetune_advisor.artifacts.recipe_file import load_recipe
    from finetune_advisor.artifacts.rundir import RunDir
    from finetune_advisor.comparison import compare
    from finetune_advisor.diagnosis.diagnose import diagnose
    from finetune_advisor.inference import Predictor
    from finetune_advisor.run import Classification, Run
    from finetune_advisor.training.train import train
    from finetune_advisor.workflows.ensembling import ensemble
    from finetune_advisor.workflows.export import export

_HOME = {
    "Advice": "advice.advise",
    "Classification": "run",
    "Diagnosis": "artifacts.diagnosis",
    "Ensemble": "artifacts.ensemble",
    "Predictor": "inference",
    "Profile": "artifacts.profile",
    "Recipe": "artifacts.recipe",
    "Run": "run",
    "RunDir": "artifacts.rundir",
    "advise": "advice.advise",
    "analyze": "analysis.analyze",
    "compare": "comparison",
    "diagnose": "diagnosis.diagnose",
    "ensemble": "workflows.ensembling",
    "export": "workflows.export",
    "load_recipe": "artifacts.recipe_file",
    "place": "advice.table",
    "train": "training.train",
}

__all__ = [
    "Advice",
    "Classification",
    "Diagnosis",
    "Ensemble",
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
