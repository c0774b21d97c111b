"""Names with an underscore that other packages keep to themselves, and that are used here all the same.

A release may move them without a word. The list below is complete: the sources are searched for others.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator
from dataclasses import InitVar, dataclass, field
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

REPOSITORY = Path(__file__).parents[1]
FOLDERS = ("finetune_advisor", "tests", "benchmarks", "docs")

PRIVATE = {
    "PIL.ImageFile._Tile": "to name the type of a piece of a file that is not decoded yet",
    "datasets.Dataset._fingerprint": "to tell data sets apart without reading them",
    "rich._export_format.CONSOLE_SVG_FORMAT": "to take the fonts out of a terminal's picture",
    "tarfile.TarInfo._proc_member": "to refuse a header of a tar before it is read into memory",
    "torch.Tensor._version": "to see whether an operation changed a tensor in place",
    "torch.UntypedStorage._new_shared": "to forbid the ways in which torch shares memory",
    "torch.UntypedStorage._share_fd_cpu_": "to forbid the ways in which torch shares memory",
    "torch.UntypedStorage._share_filename_cpu_": "to forbid the ways in which torch shares memory",
    "torch._dynamo.exc.TorchDynamoException": "to tell errors of the compiler from others",
    "torch._dynamo.utils.counters": "to see whether anything was compiled",
    "torch._foreach_lerp_": "to average many tensors in one call",
    "torch._inductor.config.patch": "to act like a machine without a compiler",
    "torch.distributed.distributed_c10d._get_default_store": "to find the store over which processes talk",
    "torch.nn.Module._forward_hooks": "to see whether a hook was left behind",
    "torch.nn.Module._forward_pre_hooks": "to see whether a hook was left behind",
    "torch.nn.modules.batchnorm._BatchNorm": "to find BatchNorm layers of any number of dimensions",
    "torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL": "to let a worker look for its parent more often",
    "torch.utils.data._utils.pin_memory.pin_memory": "to pin memory as a loader does",
    "torch.utils.data.dataloader._MultiProcessingDataLoaderIter": "to end worker processes",
    "torch.utils.data.dataloader._MultiProcessingDataLoaderIter._shutdown_workers": "to end worker processes",
    "torch.utils.data.dataloader._MultiProcessingDataLoaderIter._workers": "to end worker processes",
}
"""What each is needed for."""

DOCUMENTED = {"_asdict", "_exit", "_fields", "_make", "_replace"}
"""Public in spite of the underscore: of named tuples, and of `os`."""

PATCHERS = {"getattr", "setattr", "hasattr", "delattr", "setitem", "object"}
"""Functions whose second argument is the name of an attribute; `object` is that of `mock.patch`."""


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name not in DOCUMENTED and name != "_"


@dataclass
class Source:
    """A file of ours, or a script inside a string of one.

    Attributes:
        nodes: all there is in it.
        modules: what the names that it imports stand for, dotted.
        members: private names that its classes define.
        globals: names that it defines on the module's level.
    """

    where: str
    tree: InitVar[ast.Module]
    nodes: list[ast.AST] = field(default_factory=list)
    modules: dict[str, str] = field(default_factory=dict)
    members: set[str] = field(default_factory=set)
    globals: set[str] = field(default_factory=set)

    def __post_init__(self, tree: ast.Module) -> None:
        self.nodes = list(ast.walk(tree))
        for node in self.nodes:
            if isinstance(node, ast.Import):
                for alias in node.names:
                    first = alias.name.partition(".")[0]
                    self.modules[alias.asname or first] = alias.name if alias.asname else first
            elif isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:
                    self.modules[alias.asname or alias.name] = f"{node.module}.{alias.name}"
            elif isinstance(node, ast.ClassDef):
                self.members.update(defined(node))
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and on_itself(node):
                self.members.add(node.attr)
        self.globals.update(defined(tree))


def defined(scope: ast.Module | ast.ClassDef) -> Iterator[str]:
    """Names of functions, classes and values of a module or a class."""
    for node in scope.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name))


def on_itself(node: ast.Attribute) -> bool:
    return isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")


@cache
def sources() -> dict[str, Source]:
    """Every file of ours by its module's name; scripts inside strings by the place where they stand."""
    found: dict[str, Source] = {}
    for path in (path for folder in FOLDERS for path in sorted((REPOSITORY / folder).rglob("*.py"))):
        name = path.relative_to(REPOSITORY).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")
        source = Source(str(path.relative_to(REPOSITORY)), ast.parse(path.read_text(encoding="utf-8")))
        found[name.removeprefix("benchmarks.")] = source
        for node in source.nodes:
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and "import " in node.value:
                try:
                    inner = ast.parse(textwrap.dedent(node.value))
                except SyntaxError:
                    continue
                found[f"{name}:{node.lineno}"] = Source(f"{path.relative_to(REPOSITORY)}:{node.lineno}", inner)
    return found


def dotted(node: ast.expr, modules: dict[str, str]) -> str | None:
    """What an expression names where it begins with something imported: `nn.Module` is torch.nn.Module."""
    if isinstance(node, ast.Name):
        return modules.get(node.id)
    if isinstance(node, ast.Attribute):
        above = dotted(node.value, modules)
        return above and f"{above}.{node.attr}"
    return None


@cache
def own_packages() -> set[str]:
    """Packages and scripts of ours, as an import names them."""
    return {name.partition(".")[0] for name in sources()}


def is_ours(name: str) -> bool:
    return name.partition(".")[0] in own_packages()


def own_members(source: Source) -> set[str]:
    """Private names of the classes that a file defines or that it imports from our modules."""
    homes = {name.rpartition(".")[0] for name in source.modules.values()} | set(source.modules.values())
    return source.members.union(*(sources()[home].members for home in homes if home in sources()))


def is_foreign(base: ast.expr, name: str, source: Source) -> bool:
    """Whether a private attribute belongs to nothing of ours."""
    if isinstance(base, ast.Call) and isinstance(base.func, ast.Name) and base.func.id == "super":
        return True
    if (module := dotted(base, source.modules)) is not None:
        if not is_ours(module):
            return True
        if module in sources() and name in sources()[module].globals:
            return False
    return name not in own_members(source)


def attributes(source: Source) -> Iterator[tuple[int, str]]:
    """Line and name of private attributes of others, dotted where it is written from an import on."""
    inner = {id(node.value) for node in source.nodes if isinstance(node, ast.Attribute)}
    for node in source.nodes:
        if isinstance(node, ast.Attribute) and id(node) not in inner:
            chain: ast.expr = node
            whole = dotted(node, source.modules)
            while isinstance(chain, ast.Attribute):
                if is_private(chain.attr) and is_foreign(chain.value, chain.attr, source):
                    yield node.lineno, chain.attr if whole is None or is_ours(whole) else whole
                    break
                chain = chain.value


def overrides(source: Source) -> Iterator[tuple[int, str]]:
    """Line and dotted name of private methods and values of a class of others that a class of ours replaces."""
    for node in source.nodes:
        if not isinstance(node, ast.ClassDef):
            continue
        private = [name for name in defined(node) if is_private(name)]
        for base in node.bases if private else ():
            above = dotted(base.value if isinstance(base, ast.Subscript) else base, source.modules)
            if above is not None and not is_ours(above):
                yield from ((node.lineno, f"{above}.{name}") for name in private if exists(f"{above}.{name}"))


def imports(source: Source) -> Iterator[tuple[int, str]]:
    """Line and dotted name of private modules and names that are imported from others."""
    for node in source.nodes:
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if any(map(is_private, name.split("."))) and not is_ours(name):
                yield node.lineno, name


def strings(source: Source) -> Iterator[tuple[int, str]]:
    """Line and name of private attributes that are named by a string, as `setattr` and `monkeypatch` take them."""
    for node in source.nodes:
        if not isinstance(node, ast.Call):
            continue
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        words = [word.value if isinstance(word, ast.Constant) else None for word in node.args[:2]]
        if called not in PATCHERS or not words:
            continue
        if isinstance(words[0], str) and re.fullmatch(r"\w+(\.\w+)+", words[0]):
            if any(map(is_private, words[0].split("."))) and not is_ours(words[0].rpartition(".")[0]):
                yield node.lineno, words[0]
        elif isinstance(words[-1], str) and is_private(words[-1]) and is_foreign(node.args[0], words[-1], source):
            base = dotted(node.args[0], source.modules)
            yield node.lineno, words[-1] if base is None or is_ours(base) else f"{base}.{words[-1]}"


@cache
def used() -> dict[str, list[str]]:
    """Places by name, which is an attribute alone where nothing says whose it is."""
    found: dict[str, list[str]] = {}
    for source in sources().values():
        for line, name in (*attributes(source), *overrides(source), *imports(source), *strings(source)):
            found.setdefault(name, []).append(f"{source.where}:{line}")
    return found


def places(listed: str) -> list[str]:
    """Where a listed name is used: by its whole name, or as an attribute of something."""
    return [*used().get(listed, []), *used().get(listed.rpartition(".")[2], [])]


def covers(listed: str, name: str) -> bool:
    """Whether a listed name stands for a used one: the same, an attribute of any object, or a module on the way."""
    return (
        name == listed or listed.endswith(f".{name}") or name.startswith(f"{listed}.") or listed.startswith(f"{name}.")
    )


def owner_of(name: str) -> tuple[object, str]:
    """What holds a name, as the installed release has it, and what is left to be found in it."""
    parts = name.split(".")
    module: ModuleType = importlib.import_module(parts[0])
    at = 1
    while at < len(parts) - 1:
        try:
            module = importlib.import_module(".".join(parts[: at + 1]))
        except ModuleNotFoundError:
            break
        at += 1
    owner: object = module
    for part in parts[at:-1]:
        owner = getattr(owner, part)
    return owner, parts[-1]


def exists(name: str) -> bool:
    """Whether the installed release has it: an attribute, or one that objects of a class get when they are made."""
    try:
        owner, last = owner_of(name)
    except AttributeError:
        return False
    if hasattr(owner, last):
        return True
    if not isinstance(owner, type):
        return False
    return last in inspect.get_annotations(owner) or f"self.{last} =" in inspect.getsource(owner)


@pytest.mark.parametrize("name", PRIVATE)
def test_a_private_name_is_where_it_was(name: str) -> None:
    package = name.partition(".")[0]
    pytest.importorskip(package)
    assert exists(name), (
        f"This release of {package} has no {name}, a private name, needed {PRIVATE[name]}. It is used in "
        f"{', '.join(places(name))}."
    )


def test_every_private_name_of_others_is_listed() -> None:
    unlisted = [
        f"{name} in {', '.join(lines)}"
        for name, lines in used().items()
        if not any(covers(listed, name) for listed in PRIVATE)
    ]
    assert not unlisted, "private names of other packages that PRIVATE does not list: " + "; ".join(unlisted)


def test_nothing_is_listed_that_is_not_used() -> None:
    unused = [listed for listed in PRIVATE if not any(covers(listed, name) for name in used())]
    assert not unused, f"listed, and used nowhere: {', '.join(unused)}"
