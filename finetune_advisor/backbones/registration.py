"""Make timm know our networks without importing it: `import finetune_advisor` costs nothing.

If timm is already imported, it is told at once; else as soon as somebody imports it.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

_LIBRARY = "timm"
_OUR_NETWORKS = ("finetune_advisor.backbones.entry_points", "finetune_advisor.backbones.from_scratch.slide_nets")


def install() -> None:
    """Register our networks with timm, now or when it is imported; may be called more than once."""
    if _LIBRARY in sys.modules:
        _register()
    elif not any(isinstance(finder, _AfterImport) for finder in sys.meta_path):
        sys.meta_path.insert(0, _AfterImport())


def _register() -> None:
    for module in _OUR_NETWORKS:
        importlib.import_module(module)


class _AfterImport(MetaPathFinder):
    """Finds timm as the other finders do, and adds our registration to the end of its import."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != _LIBRARY:
            return None
        spec = self._found_by_others(path, target)
        if spec is not None and spec.loader is not None:
            self._extend(spec)
        return spec

    def _found_by_others(self, path: Sequence[str] | None, target: ModuleType | None) -> ModuleSpec | None:
        specs = (finder.find_spec(_LIBRARY, path, target) for finder in sys.meta_path if finder is not self)
        return next((spec for spec in specs if spec is not None), None)

    def _extend(self, spec: ModuleSpec) -> None:
        loader = spec.loader
        assert loader is not None
        execute = loader.exec_module

        def execute_and_register(module: ModuleType) -> None:
            execute(module)
            if self in sys.meta_path:
                sys.meta_path.remove(self)
            _register()

        loader.exec_module = execute_and_register  # type: ignore[method-assign]
