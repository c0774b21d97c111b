"""`import finetune_advisor` costs nothing, and timm knows our networks whichever is imported first."""

from __future__ import annotations

import pytest

from .conftest import Python


def test_importing_us_loads_neither_torch_nor_timm(python: Python) -> None:
    result = python("import sys, finetune_advisor; print({'torch', 'timm', 'numpy'} & set(sys.modules))")
    assert result.stdout.strip() == "set()", result.stderr


@pytest.mark.parametrize(
    "imports",
    [
        "import finetune_advisor, timm",
        "import timm, finetune_advisor",
        "import importlib.util, finetune_advisor; importlib.util.find_spec('timm'); import timm",
        "import finetune_advisor.backbones.stages, timm",
        "import finetune_advisor.backbones.wrappers.stage_probe, timm",
        "from finetune_advisor.backbones import registration; registration.install(); import timm.models, timm",
    ],
)
def test_either_order_registers_once_and_silently(python: Python, imports: str) -> None:
    script = f"import warnings; warnings.simplefilter('error')\n{imports}\nprint(timm.list_models('finetune_advisor*'))"
    result = python(script)
    kinds = ("ensemble", "looks", "shared_probes", "stage_probe", "variant", "whitened")
    ours = [f"finetune_advisor_{kind}" for kind in kinds]
    assert result.stdout.strip() == str(ours), result.stderr
    assert result.stderr == ""


def test_timm_keeps_its_loader_and_files(python: Python) -> None:
    result = python("import finetune_advisor, timm, inspect; print('def ' in inspect.getsource(timm.create_model))")
    assert result.stdout.strip() == "True", result.stderr


def test_without_timm_the_error_is_pythons_own(python: Python) -> None:
    result = python(
        "import sys, finetune_advisor\n"
        "sys.path = []\n"
        "try:\n    import timm\nexcept ModuleNotFoundError as error:\n    print(error)"
    )
    assert result.stdout.strip() == "No module named 'timm'", result.stderr
