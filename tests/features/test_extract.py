"""One pass over the images: right, and never paid for twice.

Shapes: N images, B batch, C channels, H height, W width, D features.
"""

from __future__ import annotations

import errno
import logging
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from finetune_advisor import processes
from finetune_advisor.backbones import inference_graph
from finetune_advisor.backbones.build import build
from finetune_advisor.backbones.frozen import FrozenTrunk, TrunkOutput
from finetune_advisor.backbones.inference_graph import NoGraph
from finetune_advisor.backbones.stages import pool, read_stages
from finetune_advisor.errors import BackboneError, UnopenedFile
from finetune_advisor.features import extract as features
from finetune_advisor.features import extract as recorder
from finetune_advisor.features.extract import Change, Instrument, Measurement, instrument, measure, ruler
from finetune_advisor.images.decode import digest, read_image, to_array
from finetune_advisor.loading.augmented import EvalViews, eval_views
from finetune_advisor.loading.fit import fit_image
from finetune_advisor.processes import ALONE, Share
from finetune_advisor.techniques.preprocessing import Backbone as BackbonePreprocessing
from finetune_advisor.techniques.preprocessing import Preprocess

ImageFolder = Callable[..., Path]

RESNET = instrument("resnet18", "random", BackbonePreprocessing(size=64))
MOBILENET = instrument("mobilenetv3_small_050", "random", BackbonePreprocessing(size=64))


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each test begins with an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@dataclass
class Passes:
    """Images that went through each network."""

    images: dict[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return sum(self.images.values())


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> Passes:
    counted = Passes()

    class Counting(FrozenTrunk):
        def __call__(self, x_BCHW: Tensor) -> TrunkOutput:
            name = self.backbone.name
            counted.images[name] = counted.images.get(name, 0) + len(x_BCHW)
            return super().__call__(x_BCHW)

    monkeypatch.setattr(recorder, "FrozenTrunk", Counting)
    return counted


@pytest.fixture
def paths(image_folder: ImageFolder) -> list[Path]:
    return sorted(image_folder({"ants": 3, "bees": 2}).rglob("*.png"))


def look(paths: list[Path], *instruments: Instrument, use_cache: bool = True, together: bool = True) -> Measurement:
    return measure(paths, instruments, device="cpu", workers=0, use_cache=use_cache, together=together)


def decoded(monkeypatch: pytest.MonkeyPatch, action: Callable[[], object]) -> list[Path]:
    """The files that are decoded while `action` runs."""
    files: list[Path] = []

    def recording(paths: list[Path], views: list[Preprocess], **settings: Any) -> Iterator[EvalViews]:
        files.extend(paths)
        return eval_views(paths, views, **settings)

    monkeypatch.setattr(features, "eval_views", recording)
    action()
    return files


def assert_equal(found: Measurement, expected: Measurement) -> None:
    assert (found.readable, found.unreadable, found.digests) == (
        expected.readable,
        expected.unreadable,
        expected.digests,
    )
    for one, other in zip(found.features, expected.features, strict=True):
        assert one.stages == other.stages and one.arrays.keys() == other.arrays.keys()
        for name, values in one.arrays.items():
            assert np.array_equal(values, other.arrays[name]), name
        for name, values in one.reference.items():
            assert np.array_equal(values, other.reference[name]), name


def test_features_are_those_of_the_network_run_by_hand(paths: list[Path]) -> None:
    measured = look(paths, RESNET).features[0]
    preprocess = RESNET.preprocess
    backbone = build("resnet18", "random", size=64)
    net = backbone.net.eval()
    pixels = np.stack([to_array(fit_image(read_image(path), preprocess)) for path in paths]).astype(np.float32)
    mean_C, std_C = np.reshape(preprocess.mean, (3, 1, 1)), np.reshape(preprocess.std, (3, 1, 1))
    x_BCHW = torch.from_numpy(((pixels / 255 - mean_C) / std_C).astype(np.float32))
    with torch.no_grad(), read_stages(net, backbone.stages) as readings:
        net(x_BCHW)
        pooled_BD = net.forward_features(x_BCHW).mean((2, 3))  # type: ignore[operator]
    assert measured.stages == ("stem", "layer1", "layer2", "layer3", "layer4")
    for name in measured.stages:
        expected = pool(readings[name], backbone.stage(name)).numpy()
        assert np.allclose(measured.stage(name), expected, rtol=1e-3, atol=1e-4), name
    assert np.allclose(measured.stage("pooled"), pooled_BD.numpy(), rtol=1e-3, atol=1e-4)
    assert measured.stage("all").shape[1] == sum(measured.stage(place).shape[1] for place in measured.places)


def test_reference_is_what_batch_norm_remembers(paths: list[Path]) -> None:
    measured = look(paths, RESNET).features[0]
    norm = build("resnet18", "random", size=64).net.get_submodule("bn1")
    expected = np.stack([norm.get_buffer("running_mean").numpy(), norm.get_buffer("running_var").numpy()])
    assert np.array_equal(measured.reference["stem"], expected)
    assert measured.arrays["norm.stem"].shape == (len(paths), 2 * expected.shape[1])


def test_rows_follow_the_paths(paths: list[Path]) -> None:
    forward, backward = look(paths, RESNET), look(paths[::-1], RESNET, use_cache=False)
    assert np.allclose(forward.features[0].stage("pooled")[::-1], backward.features[0].stage("pooled"), atol=1e-5)
    some = forward.features[0].rows(np.array([4, 0]))
    assert np.array_equal(some.stage("layer1"), forward.features[0].stage("layer1")[[4, 0]])


def test_a_second_look_computes_nothing_and_sees_the_same(paths: list[Path], passes: Passes) -> None:
    first = look(paths, RESNET, MOBILENET)
    assert passes.images == {"resnet18": 5, "mobilenetv3_small_050": 5}
    again = look(paths, RESNET, MOBILENET)
    assert passes.total == 10
    assert_equal(again, first)


def test_a_changed_or_added_file_costs_only_itself(
    paths: list[Path], passes: Passes, image_folder: ImageFolder
) -> None:
    before = look(paths, RESNET)
    other = image_folder({"wasps": 2}, name="others", seed=5) / "wasps"
    shutil.copy(other / "000.png", paths[1])
    after = look([*paths, other / "001.png"], RESNET)
    assert passes.total == 5 + 2
    pooled = [measured.features[0].stage("pooled") for measured in (before, after)]
    assert np.array_equal(pooled[0][[0, 2, 3, 4]], pooled[1][[0, 2, 3, 4]])
    assert not np.array_equal(pooled[0][1], pooled[1][1])


def test_moving_a_file_costs_nothing(paths: list[Path], passes: Passes) -> None:
    look(paths, RESNET)
    moved = paths[0].rename(paths[0].with_name("renamed.png"))
    look([moved, *paths[1:]], RESNET)
    assert passes.total == 5


def test_copies_are_computed_once(paths: list[Path], passes: Passes) -> None:
    copy = paths[0].with_name("copy.png")
    shutil.copy(paths[0], copy)
    measured = look([*paths, copy], RESNET)
    assert passes.total == 5
    assert measured.digests[0] == measured.digests[5]
    assert np.array_equal(measured.features[0].stage("all")[0], measured.features[0].stage("all")[5])


def test_another_network_seed_size_or_fit_shares_nothing(paths: list[Path], passes: Passes) -> None:
    looks = [RESNET, replace(RESNET, seed=1), MOBILENET]
    looks += [
        replace(RESNET, preprocess=replace(RESNET.preprocess, **change)) for change in ({"size": 96}, {"fit": "pad"})
    ]
    assert len({one.key for one in looks}) == len(looks)
    first, other = look(paths, RESNET), look(paths, replace(RESNET, seed=1))
    assert passes.images["resnet18"] == 10
    assert not np.allclose(first.features[0].stage("pooled"), other.features[0].stage("pooled"))


def test_only_random_weights_depend_on_the_seed() -> None:
    def of(weights: str, seed: int) -> str:
        return instrument("tf_efficientnet_lite0", weights, BackbonePreprocessing(size=64), seed=seed).key

    assert of("bundled", 0) == of("bundled", 1)
    assert of("random", 0) != of("random", 1)


def test_the_ruler_does_not_depend_on_what_is_trained() -> None:
    assert ruler() == ruler()
    assert (ruler().backbone, ruler().preprocess.size) == ("tf_efficientnet_lite0", 224)


def test_without_the_cache_everything_is_computed_and_nothing_kept(
    paths: list[Path], passes: Passes, own_cache: Path
) -> None:
    once = look(paths, RESNET, use_cache=False)
    again = look(paths, RESNET, use_cache=False)
    assert passes.total == 10
    assert not own_cache.exists()
    assert_equal(again, once)


def test_a_damaged_cache_is_measured_again_with_a_warning(
    paths: list[Path], passes: Passes, own_cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = look(paths, RESNET)
    expected = {name: values.copy() for name, values in first.features[0].arrays.items()}
    [shard] = (own_cache / "finetune-advisor" / "features" / RESNET.key).iterdir()
    shard.write_bytes(shard.read_bytes()[:-100])
    again = look(paths, RESNET)
    assert passes.total == 10
    assert str(shard) in caplog.text
    assert all(np.array_equal(values, again.features[0].arrays[name]) for name, values in expected.items())
    look(paths, RESNET)
    assert passes.total == 10, "the cache is whole again"


def test_a_full_disk_costs_a_warning_and_the_cache(
    paths: list[Path],
    passes: Passes,
    own_cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def refuse(path: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with caplog.at_level(logging.WARNING):
        kept = look(paths, RESNET)
    assert "the disk is full" in caplog.text
    assert_equal(kept, look(paths, RESNET, use_cache=False))
    assert not [file for file in own_cache.rglob("*") if file.is_file()]


def test_unreadable_files_are_named_with_the_reason(paths: list[Path], passes: Passes) -> None:
    paths[1].write_bytes(paths[1].read_bytes()[:200])
    paths[3].write_text("no pixels here")
    paths[4].unlink()
    for _ in range(2):
        measured = look(paths, RESNET)
        assert measured.readable == (0, 2)
        assert measured.unreadable.keys() == {1, 3, 4}
        assert "cut short" in measured.unreadable[1]
        assert "not an image" in measured.unreadable[3]
        assert measured.unreadable[4] == "the file is gone"
        assert len(measured.features[0].stage("pooled")) == 2
    assert passes.total == 2


def test_a_network_that_answers_with_no_numbers_is_refused(paths: list[Path], tmp_path: Path) -> None:
    net = timm.create_model("resnet18")
    net.get_parameter("conv1.weight").data[0] = float("nan")
    file = tmp_path / "damaged.safetensors"
    save_file(net.state_dict(), file)
    damaged = instrument("resnet18", str(file), BackbonePreprocessing(size=32))
    with pytest.raises(BackboneError, match=r"resnet18 with .*damaged\.safetensors weights answers with NaN"):
        measure(paths, [damaged], device="cpu", workers=0)


def test_nothing_readable_is_told_not_raised(paths: list[Path]) -> None:
    for path in paths:
        path.write_text("no pixels here")
    measured = look(paths, RESNET)
    assert measured.readable == () and len(measured.unreadable) == len(paths)


def test_without_instruments_images_are_only_decoded_and_only_once(
    paths: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    paths[2].write_text("no pixels here")
    measured = look(paths)
    assert measured.readable == (0, 1, 3, 4) and measured.features == ()
    assert decoded(monkeypatch, lambda: look(paths)) == []


def test_what_a_network_has_seen_need_not_be_decoded_again(paths: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    look(paths, RESNET)
    assert decoded(monkeypatch, lambda: look(paths)) == []


def test_progress_ends_at_all_images(image_folder: ImageFolder) -> None:
    paths = sorted(image_folder({"ants": 40}).rglob("*.png"))
    paths[0].write_text("no pixels here")
    calls: list[tuple[int, int]] = []
    measure(paths, [MOBILENET], device="cpu", workers=0, progress=lambda done, todo: calls.append((done, todo)))
    assert calls == [(32, 40), (40, 40)]


def test_images_gather_until_they_fill_the_device_and_are_seen_alike(
    paths: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As beside a GPU, whose passes are larger than what is decoded together."""
    alone = look(paths, RESNET, use_cache=False)
    monkeypatch.setattr(features, "BATCH", 1)
    monkeypatch.setattr(recorder.Reader, "together", 2)
    shown: list[int] = []

    class Watched(FrozenTrunk):
        def __call__(self, x_BCHW: Tensor) -> TrunkOutput:
            shown.append(len(x_BCHW))
            return super().__call__(x_BCHW)

    monkeypatch.setattr(recorder, "FrozenTrunk", Watched)
    found = look(paths, RESNET, use_cache=False)
    assert shown == [2, 2, 1]
    assert np.allclose(found.features[0].stage("all"), alone.features[0].stage("all"), rtol=1e-4, atol=1e-5)


def test_networks_with_different_inputs_share_one_pass(paths: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    larger = replace(MOBILENET, preprocess=replace(MOBILENET.preprocess, size=96, mean=(0.1, 0.2, 0.3)))
    alone = [look(paths, one, use_cache=False).features[0] for one in (RESNET, larger)]
    calls: list[tuple[int, int]] = []

    def both() -> Measurement:
        return measure(
            paths, [RESNET, larger], device="cpu", workers=0, progress=lambda done, todo: calls.append((done, todo))
        )

    assert sorted(decoded(monkeypatch, both)) == paths
    assert calls == [(5, 5)]
    for found, expected in zip(both().features, alone, strict=True):
        assert np.allclose(found.stage("all"), expected.stage("all"), rtol=1e-4, atol=1e-5)


def test_a_network_sees_only_what_it_has_not_seen(paths: list[Path], passes: Passes) -> None:
    look(paths[:3], RESNET)
    look(paths, RESNET, MOBILENET)
    assert passes.images == {"resnet18": 5, "mobilenetv3_small_050": 5}


def test_a_bad_file_builds_no_network_again(paths: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    paths[3].write_text("no pixels here")
    first = look(paths, RESNET)

    def refuse(*arguments: object, **settings: object) -> None:
        raise AssertionError("a network is built although nothing changed")

    monkeypatch.setattr(recorder, "build", refuse)
    assert_equal(look(paths, RESNET), first)


def test_a_bad_file_that_is_mended_is_looked_at(paths: list[Path]) -> None:
    whole = paths[3].read_bytes()
    paths[3].write_bytes(whole[:200])
    assert look(paths, RESNET).unreadable.keys() == {3}
    paths[3].write_bytes(whole)
    assert look(paths, RESNET).unreadable == {}


def test_other_decoders_get_another_try(paths: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    paths[3].write_text("no pixels here")
    look(paths)
    monkeypatch.setattr(features, "decoder_key", lambda: "a Pillow that reads more")
    assert decoded(monkeypatch, lambda: look(paths)) == [paths[3]]


def test_a_file_that_the_disk_refused_is_tried_again(paths: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """The refusal came after its content was read once, and says nothing about the content."""

    def refuse(path: str, sides: object, *, digest: str, value_range: object) -> None:
        raise UnopenedFile("it cannot be read (Input/output error)")

    with monkeypatch.context() as patch:
        patch.setattr("finetune_advisor.loading.augmented.read_image_for", refuse)
        assert set(look(paths).unreadable.values()) == {"it cannot be read (Input/output error)"}
    assert look(paths).unreadable == {}


def test_a_disk_that_takes_no_reasons_costs_a_warning(
    paths: list[Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(path: Path, data: bytes) -> int:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    paths[3].write_text("no pixels here")
    monkeypatch.setattr(Path, "write_bytes", refuse)
    assert look(paths).unreadable.keys() == {3}
    assert "tries to decode bad files again" in caplog.text


def test_many_images_go_through_the_inference_graph_and_are_seen_alike(
    paths: list[Path], passes: Passes, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_it_is = look(paths, RESNET, use_cache=False).features[0]
    assert passes.total == 5
    monkeypatch.setattr(inference_graph, "WORTH_EXPORTING", 5)
    graph = look(paths, RESNET).features[0]
    assert passes.total == 5, "none went through the network itself"
    assert as_it_is.arrays.keys() == graph.arrays.keys()
    for name, values in as_it_is.arrays.items():
        assert np.allclose(graph.arrays[name], values, rtol=1e-3, atol=1e-4 * np.abs(values).max()), name


def test_where_there_is_no_graph_the_network_itself_is_used_and_that_is_said(
    paths: list[Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*arguments: object, **settings: object) -> None:
        raise NoGraph("its pooled differ from the network's own by 5.0e-01 of their size")

    expected = look(paths, RESNET, use_cache=False)
    monkeypatch.setattr(inference_graph, "open_graph", refuse)
    assert_equal(look(paths, RESNET, use_cache=False), expected)
    assert "resnet18" in caplog.text and "slower" in caplog.text and "differ" in caplog.text


def test_a_graph_that_fails_on_the_way_is_replaced_by_the_network_itself(
    paths: list[Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(x_BCHW: Tensor) -> None:
        raise NoGraph("ONNX Runtime cannot run it: out of memory")

    expected = look(paths, RESNET, use_cache=False)
    monkeypatch.setattr(inference_graph, "open_graph", lambda *arguments, **settings: fail)
    assert_equal(look(paths, RESNET, use_cache=False), expected)
    assert caplog.text.count("out of memory") == 1 and "slower" in caplog.text


def test_a_file_that_changes_while_it_is_read_is_named_and_nothing_false_is_cached(
    paths: list[Path], monkeypatch: pytest.MonkeyPatch, image_folder: ImageFolder
) -> None:
    other = image_folder({"wasps": 1}, name="others", seed=5) / "wasps" / "000.png"

    def late(some: list[Path], views: list[Preprocess], **settings: Any) -> Iterator[EvalViews]:
        shutil.copy(other, paths[1])
        return eval_views(some, views, **settings)

    monkeypatch.setattr(features, "eval_views", late)
    first = look(paths, RESNET)
    assert first.unreadable == {1: "it changed while the images were being read"}
    monkeypatch.undo()
    again = look(paths, RESNET)
    assert again.unreadable == {}
    alone = look([other], RESNET, use_cache=False)
    assert np.allclose(again.features[0].stage("pooled")[1], alone.features[0].stage("pooled")[0], atol=1e-5)


@pytest.mark.parametrize("change", ["horizontal_flip", "vertical_flip", "rotation_90", "gray"])
def test_a_changed_view_is_that_of_changed_files(change: Change, paths: list[Path], tmp_path: Path) -> None:
    turning: dict[str, Callable[[Image.Image], Image.Image]] = {
        "horizontal_flip": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        "vertical_flip": lambda image: image.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        "rotation_90": lambda image: image.transpose(Image.Transpose.ROTATE_90),
        "gray": lambda image: image.convert("L").convert("RGB"),
    }
    copies = []
    for number, path in enumerate(paths):
        copies.append(tmp_path / f"{number}.png")
        pixels = fit_image(read_image(path), RESNET.preprocess)
        turning[change](pixels).save(copies[-1])
    found = look(paths, RESNET, replace(RESNET, change=change))
    expected = look(copies, RESNET).features[0].stage("all")
    assert np.allclose(found.features[1].stage("all"), expected, rtol=0.02, atol=0.02)
    assert not np.allclose(found.features[0].stage("all"), expected, rtol=0.02, atol=0.02)


@pytest.fixture
def two_machines(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """This process is the first of two whose disks are their own; the reasons that the other one tells of."""
    theirs: dict[str, str] = {}
    monkeypatch.setattr(processes, "shares", lambda: (Share(0, 2), ALONE))
    monkeypatch.setattr(processes, "world_size", lambda: 2)
    monkeypatch.setattr(processes, "gather", lambda mine: [mine, theirs])
    return theirs


def test_what_other_processes_measured_on_a_disk_of_their_own_is_measured_again(
    paths: list[Path], passes: Passes, two_machines: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    found = look(paths, RESNET)
    assert passes.total == 5
    assert "are not in the cache here and measured again" in caplog.text
    assert np.allclose(
        found.features[0].stage("all"), look(paths, RESNET, use_cache=False).features[0].stage("all"), atol=1e-5
    )


def test_what_another_process_could_not_read_is_not_tried_again(
    paths: list[Path], passes: Passes, two_machines: dict[str, str]
) -> None:
    theirs = next(place for place, path in enumerate(paths) if not Share(0, 2).takes(digest(path)))
    two_machines[digest(paths[theirs])] = "no permission to read it"
    assert look(paths, RESNET).unreadable == {theirs: "no permission to read it"}
    assert passes.total == 4


def test_one_process_can_look_at_images_by_itself(
    paths: list[Path], passes: Passes, two_machines: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "gather", lambda mine: pytest.fail("it waits for others, who are elsewhere"))
    assert len(look(paths, RESNET, together=False).readable) == passes.total == 5


def test_without_the_cache_processes_share_nothing_and_say_so(
    paths: list[Path], passes: Passes, two_machines: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    look(paths, RESNET, use_cache=False)
    assert passes.total == 5
    assert "each process measures every image itself" in caplog.text
