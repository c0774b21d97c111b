"""`ExportForm` under its name of version 0.1."""

import warnings

from finetune_advisor.records.ensemble import ExportForm

__all__ = ["ExportForm"]

warnings.warn("ExportForm is finetune_advisor.ExportForm now.", DeprecationWarning, stacklevel=2)
