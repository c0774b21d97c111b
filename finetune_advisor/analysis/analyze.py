"""The verb: images -> Profile. It measures and holds no opinion; the verdicts are added by `advice`.

What was measured before is remembered: of unchanged data only the files are read again, and torch is not even loaded.
Under torchrun all processes look at the images; the main one does the rest, and the others wait for its profile.
"""

from __future__ import annotations

from pathlib import Path
from time import perf_counter

from finetune_advisor import processes
from finetune_advisor.analysis.remember import profile_memory
from finetune_advisor.analysis.request import LIMIT, Progress, Request, Watch
from finetune_advisor.artifacts.memory import Memory
from finetune_advisor.artifacts.profile import Profile
from finetune_advisor.backbones.bundled import RULER
from finetune_advisor.backbones.devices import AUTO
from finetune_advisor.backbones.weights import default_weights, find_weights
from finetune_advisor.data.decode import decoder_key
from finetune_advisor.data.digest import digests as content_digests
from finetune_advisor.data.sample import stratified_sample
from finetune_advisor.data.sources import Listing, open_source, require_trainable

__all__ = ["LIMIT", "analyze"]


def analyze(
    data: str | Path | Listing,
    *,
    group: str | None = None,
    backbone: str = RULER,
    weights: str | None = None,
    size: int = 224,
    validation: float = 0.2,
    seed: int = 0,
    limit: int = LIMIT,
    device: str = AUTO,
    use_cache: bool = True,
    progress: Progress | None = None,
    probe_progress: Progress | None = None,
    view_progress: Progress | None = None,
) -> Profile:
    """Measure a data set: how much there is, how similar to ImageNet, how healthy, and what probes score.

    Test images, where the data has a test split, serve only the health checks.

    Args:
        data: a folder of class folders, or one with `train/` and optionally `val/` and `test/`; a CSV, TSV or Parquet
            manifest; an archive; `hf:NAME`. See `open_source`.
        group: column of a manifest whose values never straddle a split or a fold.
        backbone: the timm network to be fine-tuned; similarity is always measured with the ruler.
        weights: `bundled`, `hub`, `random` or a file; None is `bundled` where a package here has them, else `hub`.
        size: side of the network's input, in pixels.
        validation: share of the training images to hold out, where the data has no validation split.
        seed: seeds the split, the folds and the bootstrap.
        limit: most images to look at; of more, a stratified sample is taken.
        device: `auto`, or a torch device.
        use_cache: False measures every image again.
        progress, probe_progress, view_progress: called with (done, to do) while images are measured, probes fitted, and
            some images seen another way.

    Raises:
        DataError: the data cannot be used.
        BackboneError: an unknown network, or weights that cannot be had.
        OtherProcessEnded: under torchrun, another process failed.
    """
    start = perf_counter()
    listing = data if isinstance(data, Listing) else open_source(data, group=group)
    require_trainable(listing)
    sample = stratified_sample(listing, limit, seed=seed)
    request = Request(
        backbone=backbone,
        weights=weights or default_weights(backbone),
        size=size,
        validation=validation,
        seed=seed,
        device=device,
        use_cache=use_cache,
    )
    listed = perf_counter()
    memory = _memory(listing, sample, request) if use_cache and processes.is_main() else None
    known = processes.from_main(memory.recall() if memory else None)
    if known is None:
        known = _measured(listing, sample, request, Watch(progress, probe_progress, view_progress))
        if memory:
            memory.keep(known)
    seconds = known.seconds.model_copy(update={"listing": listed - start, "total": perf_counter() - start})
    source = listing.source if isinstance(data, Listing) else str(data)
    reading = listing.reading
    asked = {
        "group": group or reading.group or listing.group_column,
        "path_column": reading.path_column,
        "label_column": reading.label_column,
        "merge_classes": reading.merge_classes,
        "class_folders": reading.class_folders,
    }
    return known.model_copy(update={"data": source, "seconds": seconds, **asked})


def _measured(listing: Listing, sample: Listing, request: Request, watch: Watch) -> Profile:
    from finetune_advisor.analysis.measuring import look_at_share, measured_profile

    profile = None
    if processes.is_main():
        profile = measured_profile(listing, sample, request, watch)
    elif request.use_cache:
        look_at_share(sample, request)
    profile = processes.from_main(profile)
    assert profile is not None, "the main process has one"
    return profile


def _memory(listing: Listing, sample: Listing, request: Request) -> Memory[Profile]:
    digests, unopened = content_digests([each.path for each in sample.samples])
    found = find_weights(request.backbone, request.weights, seed=request.seed)
    names = [(each.name, each.label, each.split, each.group) for each in listing.samples]
    return profile_memory(
        request.settings(),
        found.digest,
        listing.classes,
        names,
        listing.ignored,
        listing.notes,
        len(sample.samples),
        digests,
        unopened,
        decoder_key(),
    )
