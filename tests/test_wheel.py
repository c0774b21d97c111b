"""The wheel is whole: what a person installs runs without the checkout beside it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from finetune_advisor.recipes.load import baseline_recipes, shipped_recipes

REPOSITORY = Path(__file__).resolve().parent.parent


def run(*command: str, cwd: Path, **variables: str) -> str:
    result = subprocess.run(
        [sys.executable, *command],
        cwd=cwd,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built without a network, from this checkout."""
    pytest.importorskip("hatchling")
    if not (REPOSITORY / "pyproject.toml").is_file():
        pytest.skip("these tests do not lie in a checkout")
    folder = tmp_path_factory.mktemp("dist")
    run("-m", "hatchling", "build", "-t", "wheel", "-d", str(folder), cwd=REPOSITORY)
    [built] = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the wheel alone is installed into."""
    target = tmp_path_factory.mktemp("installed")
    options = ("--no-deps", "--no-index", "--no-compile", "--disable-pip-version-check", "--quiet")
    run("-m", "pip", "install", *options, "--target", str(target), str(wheel), cwd=target)
    return target


def test_the_wheel_holds_the_package_its_data_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == {"finetune_advisor"}
    assert {f"finetune_advisor/shipped_recipes/{name}.yaml" for name in shipped_recipes()} <= set(names)
    baselines = {f"finetune_advisor/shipped_recipes/baselines/{name}.yaml" for name in baseline_recipes()}
    assert baselines and baselines <= set(names)
    assert {"finetune_advisor/py.typed", "finetune_advisor/advice/calibration.yaml"} <= set(names)
    assert {f"finetune_advisor/reporting/templates/{name}" for name in ("analysis.html.j2", "style.css")} <= set(names)
    assert "finetune_advisor/reporting/reference_similarity.yaml" in names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_nothing_tells_anyone_to_install_this_package_from_an_index() -> None:
    """It is not published, and anyone could take its name: hints name the package that is missing, and it exists."""
    with (REPOSITORY / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    wanted = [
        *project["dependencies"],
        *(name for extra in project["optional-dependencies"].values() for name in extra),
    ]
    published = {re.split(r"[<>=\[]", requirement)[0].lower() for requirement in wanted} - {project["name"]}
    shipped = [path for path in (REPOSITORY / "finetune_advisor").rglob("*") if path.suffix in {".py", ".j2", ".yaml"}]
    named = set()
    for path in [*shipped, *(REPOSITORY / "docs").rglob("*.md"), *(REPOSITORY / "benchmarks").rglob("*.py")]:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"finetune[-_]advisor\[|/project/finetune", text), path
        for packages in re.findall(r"pip install ((?:-\S+ )*[a-z][\w-]*(?: [a-z][\w-]*-[\w-]*)*)", text):
            named |= {package for package in packages.split() if not package.startswith("-")}
    assert {"ray", "pyarrow", "datasets", "huggingface-hub", "timm", "onnxruntime"} <= named, "the hints are found"
    assert named <= published, named - published


def test_installed_recipes_are_those_of_the_wheel(installed: Path, tmp_path: Path) -> None:
    script = (
        "import finetune_advisor, json; from finetune_advisor.recipes import load as r;"
        "from finetune_advisor.advice.table import calibration;"
        "print(json.dumps([finetune_advisor.__file__, calibration().amount.plenty_per_class,"
        "[str(r.shipped_path(n)) for n in (*r.shipped_recipes(), *r.baseline_recipes()) if r.load_recipe(n)]]))"
    )
    home, plenty, recipes = json.loads(run("-c", script, cwd=tmp_path, PYTHONPATH=str(installed)))
    assert Path(home).is_relative_to(installed)
    assert plenty > 0
    assert all(Path(recipe).is_relative_to(installed) for recipe in recipes)


def test_the_installed_command_lists_its_recipes(installed: Path, tmp_path: Path) -> None:
    output = run("-m", "finetune_advisor", "recipes", "list", "--json", cwd=tmp_path, PYTHONPATH=str(installed))
    assert [row["name"] for row in json.loads(output)] == [*shipped_recipes(), *baseline_recipes()]


def test_the_wheel_brings_the_command(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        [entry_points] = [name for name in archive.namelist() if name.endswith("entry_points.txt")]
        assert "finetune-advisor = finetune_advisor.cli:main" in archive.read(entry_points).decode()
