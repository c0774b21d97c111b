"""The recipe: everything that decides how a network is trained, and nothing that follows from the images."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from finetune_advisor.recipes.rules import DURATIONS, conflicts
from finetune_advisor.techniques.activation import AnyActivation
from finetune_advisor.techniques.augmentation import AnyAugmentation
from finetune_advisor.techniques.averaging import AnyAveraging
from finetune_advisor.techniques.base import Settings
from finetune_advisor.techniques.ensembling import AnyEnsembling
from finetune_advisor.techniques.initialization import AnyInitialization
from finetune_advisor.techniques.loss import AnyLoss
from finetune_advisor.techniques.mixing import AnyMixing
from finetune_advisor.techniques.optimizer import AnyOptimizer
from finetune_advisor.techniques.preprocessing import AnyPreprocessing
from finetune_advisor.techniques.regularization import AnyRegularization
from finetune_advisor.techniques.schedule import AnySchedule
from finetune_advisor.techniques.strategy import AnyStrategy

CONFLICT = "recipe_conflict"
"""Type of the pydantic error that stands for all conflicts between keys."""

Text = Annotated[str, Field(min_length=1)]
Count = Annotated[int, Field(ge=1)]


_FOLDER_NAME = r"\w[\w .-]*"


def _as_folder(name: str) -> str:
    if not re.fullmatch(_FOLDER_NAME, name):
        raise ValueError(
            "expected a name for the run's folder: letters, digits, `_`, and after the first also spaces, `.` and `-`; "
            f"found {name!r}"
        )
    return name


FolderName = Annotated[Text, AfterValidator(_as_folder), Field(json_schema_extra={"pattern": f"^{_FOLDER_NAME}$"})]


class Data(Settings):
    """The images."""

    path: Text
    """Where the labeled images are; a relative path starts at the folder of this file."""
    validation: Annotated[float, Field(gt=0, le=0.5)]
    """Share of the training images kept for validation, unless already split."""
    group: Text | None = None
    """Column of the manifest that says which images belong together (patient, scene); null: `group`, if there."""
    path_column: Text | None = None
    """Column of the manifest with the paths of the images; null: `path`, or another usual name."""
    label_column: Text | None = None
    """Column of the manifest with the classes; null: `label`, or another usual name."""
    merge_classes: bool = False
    """Make one class of those whose names differ only in case, blanks, encoding of accents or a number's form."""
    class_folders: Literal["outer", "inner"] | None = None
    """outer: the folders in `path` are the classes; inner: those inside them; null: as the layout says."""
    class_weights: Literal["balanced"] | None = None
    """balanced: rare classes count as much as common ones; null: images do."""


class Backbone(Settings):
    """The pretrained network."""

    name: Text
    """timm's name of the network."""
    weights: Text
    """bundled, hub, random, or a file; a relative path starts at the folder of this one."""
    initialization: AnyInitialization | None = None
    """What every layer below the head starts from, where weights are random; null: as timm does it."""
    activation: AnyActivation | None = None
    """Swapped in for the network's own, with the statistics of BatchNorm measured anew; null: its own."""


class Head(Settings):
    """The new classifier."""

    initialization: AnyInitialization
    """What the classifier starts from."""
    hidden: Count | None = None
    """Units of a hidden layer before the classes; null: the classifier is one linear layer."""
    activation: AnyActivation | None = None
    """Of that hidden layer."""


class Budget(Settings):
    """How long to train: one of epochs, steps, images and minutes."""

    epochs: Count | None = None
    """Times every training image is seen."""
    steps: Count | None = None
    """Steps of the optimizer."""
    images: Count | None = None
    """Training images seen, counting repeats."""
    minutes: Annotated[float, Field(gt=0)] | None = None
    """The whole run, looking at the images and scoring included; planned on the first steps."""
    early_stopping: Count | None = None
    """Evaluations without progress after which training stops; null never does."""

    @property
    def unit(self) -> str:
        """The key that is set: what the length of training is given in."""
        return next(name for name in DURATIONS if getattr(self, name) is not None)

    @model_validator(mode="after")
    def _one_duration(self) -> Budget:
        given = [f"{name} {getattr(self, name)}" for name in DURATIONS if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"expected one of epochs, steps, images and minutes, found {' and '.join(given) or 'none'}"
            )
        return self


class Evaluation(Settings):
    """How a network is judged."""

    metric: Literal["accuracy", "balanced_accuracy", "loss"]
    """What decides which network is best."""
    refit: bool = False
    """true: once scored, train again from the start, on training and validation images together, and keep that."""


class Runtime(Settings):
    """What changes speed and memory, not the idea."""

    precision: Literal["auto", "float32", "bfloat16"]
    """Number format of the forward and backward pass; auto: bfloat16 on a GPU that has it, else float32."""
    workers: Annotated[int, Field(ge=0)] | None = None
    """Processes that decode images; null: one for each core, at most 16; 0 decodes in the main one."""
    retries: Annotated[int, Field(ge=0)] = 1
    """Times that training goes back to its last checkpoint with half the rate when the loss is no number any more."""
    compile: bool | Literal["reduce-overhead"] = False
    """true: torch.compile; reduce-overhead: its mode for small batches on a GPU, by CUDA graphs."""
    cache_mib: Count | None = None
    """Most disk space a run may use for what it computes or decodes once, in MiB; null keeps nothing."""
    tracker: Literal["tensorboard", "wandb", "mlflow"] | None = None
    """Where every evaluation is also sent."""


class Recipe(Settings):
    """A complete recipe: `null` is off, and nothing is decided anywhere else.

    Raises:
        pydantic.ValidationError: values that cannot be used, or keys that contradict each other
            (`recipe_file.load_recipe` says so in a person's words).
    """

    format: Literal[1]
    """Version of this file's layout."""
    name: FolderName
    """What runs of this recipe are called."""
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    """The same seed gives the same run."""
    data: Data
    """The images."""
    backbone: Backbone
    """The pretrained network."""
    preprocessing: AnyPreprocessing
    """From a decoded image to the network's input."""
    strategy: AnyStrategy
    """What is trained."""
    head: Head | None = None
    """The new classifier."""
    augmentation: tuple[AnyAugmentation, ...] | None = None
    """Random changes to training images, in this order."""
    mixing: AnyMixing | None = None
    """Training on mixtures of two images; null: on each alone."""
    loss: AnyLoss | None = None
    """What training makes small."""
    regularization: tuple[AnyRegularization, ...] | None = None
    """What keeps the network from learning by heart."""
    optimizer: AnyOptimizer | None = None
    """How gradients become steps."""
    schedule: AnySchedule | None = None
    """How the learning rate moves."""
    budget: Budget | None = None
    """How long to train."""
    averaging: AnyAveraging | None = None
    """Which average of the weights is judged and kept; null: the last ones."""
    ensemble: AnyEnsembling | None = None
    """What `finetune-advisor ensemble` makes of a run; checkpoints: kept by the run itself."""
    evaluation: Evaluation
    """How a network is judged."""
    runtime: Runtime
    """What changes speed and memory, not the idea."""

    @property
    def needs_features(self) -> bool:
        """Whether a run begins with a pass of the images through the frozen network."""
        return not self.strategy.trains_network or (self.head is not None and self.head.initialization.needs_features)

    @property
    def holds_out(self) -> bool:
        """Whether the model in the end has not seen the validation images."""
        return self.strategy.trains_network and not self.evaluation.refit

    @model_validator(mode="after")
    def _keys_agree(self) -> Recipe:
        found = conflicts(self.model_dump())
        if found:
            sentences = "; ".join(f"{key}: {sentence}" for key, sentence in found)
            raise PydanticCustomError(CONFLICT, "{sentences}", {"sentences": sentences})
        return self
