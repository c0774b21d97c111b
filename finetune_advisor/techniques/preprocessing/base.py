"""The seam of preprocessing: from a backbone's configuration to what is done to each image."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from finetune_advisor.techniques.base import Technique
from finetune_advisor.techniques.preprocessing.settings import Preprocess


class Preprocessing(Technique):
    """How a decoded image becomes the network's input."""

    @abstractmethod
    def resolve(self, config: Mapping[str, Any]) -> Preprocess:
        """Every number that preprocessing needs, given timm's `pretrained_cfg` of the backbone."""
