"""The seams of a strategy: which part of the network learns, and which keys of the recipe take part."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import Field

from finetune_advisor.errors import BackboneError
from finetune_advisor.techniques.base import Technique

BatchNorm: TypeAlias = Literal["frozen", "train"]

Top: TypeAlias = Literal["all"] | Annotated[int, Field(ge=1)]
"""How many of the last pretrained stages, counted from the top."""

Strengths: TypeAlias = Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)]
"""L2 strengths to choose from: factors of half the squared norm of the weights, beside the mean loss."""

STRENGTHS = (1e-6, 3e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2)


class Strategy(Technique):
    """What is trained on top of, or inside, the pretrained network."""

    trains_network: ClassVar[bool]
    """Whether layers of the network are trained, rather than a linear model fitted on its features."""
    uses: ClassVar[frozenset[str]]
    """Optional keys of the recipe that take part; the others must be null."""
    needs: ClassVar[frozenset[str]]
    """Those of them that must not be null."""
    only: ClassVar[Mapping[str, tuple[Any, str]]] = {}
    """Dotted keys of the recipe that may have just one value, that value, and why; `{kind}` is the strategy's name."""

    @abstractmethod
    def trainable(self, stages: Sequence[str]) -> tuple[str, ...]:
        """The stages whose parameters are trained at any time, in the order of the network.

        Args:
            stages: all stages of the backbone, first to last; the last one holds the new classifier.

        Raises:
            BackboneError: the backbone has fewer stages than the strategy counts on.
        """


class Probe(Strategy):
    """A linear classifier fitted on features of the frozen network."""

    trains_network: ClassVar[bool] = False
    uses: ClassVar[frozenset[str]] = frozenset()
    needs: ClassVar[frozenset[str]] = frozenset()
    only: ClassVar[Mapping[str, tuple[Any, str]]] = {
        "evaluation.metric": (
            "accuracy",
            "the log loss on its folds chooses the strength of {kind}: a metric would be ignored",
        ),
        "runtime.precision": (
            "float32",
            "{kind} is fitted on features in float32: another precision would be ignored",
        ),
        "runtime.cache_mib": (None, "{kind} keeps nothing: it would be ignored"),
        "runtime.compile": (False, "{kind} trains no network: compiling it would be ignored"),
        "backbone.initialization": (None, "{kind} is fitted on the network as timm makes it: it would be ignored"),
        "backbone.activation": (None, "{kind} leaves the network as it is: it cannot get used to another activation"),
    }

    def trainable(self, stages: Sequence[str]) -> tuple[str, ...]:  # noqa: ARG002
        """None: the network stays as it is."""
        return ()


class FineTuning(Strategy):
    """Training of some of the network's own layers together with a new classifier."""

    trains_network: ClassVar[bool] = True
    uses: ClassVar[frozenset[str]] = frozenset(
        {"head", "augmentation", "mixing", "loss", "regularization", "optimizer", "schedule", "budget", "averaging"}
    )
    needs: ClassVar[frozenset[str]] = frozenset({"head", "loss", "optimizer", "schedule", "budget"})

    batch_norm: BatchNorm = "frozen"
    """Whether statistics of BatchNorm stay frozen or follow the new data."""
    cached_views: Annotated[int, Field(ge=1)] | None = None
    """Views of each training image that are computed up to the trained stages once and used in turn; null: never."""

    @property
    def fewest_epochs(self) -> int:
        """Epochs that training takes at the least, so that everything gets to train; depends on no backbone."""
        return 1

    def unfreezing(self, stages: Sequence[str]) -> dict[str, int]:
        """The stages of `trainable`, each with the epochs that are done when its pretrained layers begin to train.

        The new classifier always trains from the start, whatever the epoch of the stage that holds it. A stage that
        trains once does so to the end.

        Raises:
            BackboneError: the backbone has fewer stages than the strategy counts on.
        """
        return dict.fromkeys(self.trainable(stages), 0)


class TopStages(FineTuning):
    """Training of the last stages, or of all."""

    stages: Top = "all"
    """How many of the last pretrained stages train in the end, beside the head."""

    def trainable(self, stages: Sequence[str]) -> tuple[str, ...]:
        """The last `self.stages` pretrained stages, and the head.

        Raises:
            BackboneError: the backbone has fewer pretrained stages.
        """
        return last_stages("strategy.stages", self.stages, stages)


def check_count(key: str, count: int, pretrained: Sequence[str]) -> None:
    """Refuse a number of stages that the backbone does not have.

    Raises:
        BackboneError: `count` is larger than the number of pretrained stages.
    """
    if count > len(pretrained):
        most = len(pretrained)
        raise BackboneError(
            f"{key} is {count}, but this backbone has only {most} pretrained stages: {', '.join(pretrained)}",
            f"Set it to at most {most}: `--set {key}={most}`.",
        )


def last_stages(key: str, count: Top, stages: Sequence[str]) -> tuple[str, ...]:
    """The last `count` pretrained stages and the head.

    Raises:
        BackboneError: `count` is larger than the number of pretrained stages.
    """
    pretrained = stages[:-1]
    if count == "all":
        return tuple(stages)
    check_count(key, count, pretrained)
    return tuple(stages[len(pretrained) - count :])
