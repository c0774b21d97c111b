"""A name and a source of weights give the same, complete network every time."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from finetune_advisor.backbones.build import backbone_config, build, check_name, set_classifier
from finetune_advisor.errors import BackboneError, WeightsError


def test_bundled_weights_bring_their_own_normalization() -> None:
    backbone = build("tf_efficientnet_lite0", "bundled", size=64)
    assert backbone.config["mean"] == backbone.config["std"] == (0.5, 0.5, 0.5)
    assert backbone.config["license"] == "Apache-2.0"
    assert backbone_config("tf_efficientnet_lite0", "bundled")["mean"] == (0.5, 0.5, 0.5)
    assert backbone_config("resnet18")["mean"] == pytest.approx((0.485, 0.456, 0.406))
    assert not backbone.new_head and "state_dict" not in backbone.config


def test_random_weights_follow_the_seed_and_touch_no_global_state() -> None:
    before = torch.get_rng_state()
    one, same, other = (build("resnet18", "random", size=32, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one.net.get_parameter("fc.weight"), same.net.get_parameter("fc.weight"))
    assert not torch.equal(one.net.get_parameter("fc.weight"), other.net.get_parameter("fc.weight"))


def test_a_new_head_leaves_the_body_as_it_was() -> None:
    whole = build("tf_efficientnet_lite0", "bundled", size=32)
    new = build("tf_efficientnet_lite0", "bundled", size=32, classes=3, seed=5)
    assert new.new_head and new.net.get_parameter("classifier.weight").shape == (3, 1280)
    differing = {
        name for name, tensor in new.net.state_dict().items() if not torch.equal(tensor, whole.net.state_dict()[name])
    }
    assert differing == {"classifier.weight", "classifier.bias"}


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(BackboneError, match="no network 'resnet81'; did you mean 'resnet"):
        build("resnet81", "random")


def test_a_tag_is_checked() -> None:
    check_name("resnet18.a1_in1k")
    with pytest.raises(BackboneError, match="no weights tagged 'a9'") as caught:
        check_name("resnet18.a9")
    assert caught.value.hint is not None and "resnet18.a1_in1k" in caught.value.hint


def test_a_fixed_size_network_is_built_for_the_size_asked_for() -> None:
    backbone = build("vit_tiny_patch16_224", "random", size=48)
    assert backbone.input_size == (3, 48, 48)
    assert backbone.net(torch.zeros(1, 3, 48, 48)).shape == (1, 1000)


def test_a_size_that_the_network_refuses_is_an_error_with_its_own_size() -> None:
    with pytest.raises(BackboneError, match="does not take images of 8 x 8 pixels") as caught:
        build("vit_tiny_patch16_224", "random", size=8)
    assert caught.value.hint is not None and "224 x 224" in caught.value.hint


def test_a_file_of_ones_own_keeps_its_classifier(tmp_path: Path) -> None:
    mine = build("resnet18", "random", size=32, classes=7, seed=4)
    torch.save({"state_dict": mine.net.state_dict()}, tmp_path / "mine.pth")
    opened = build("resnet18", str(tmp_path / "mine.pth"), size=32)
    x_BCHW = torch.randn(2, 3, 32, 32)
    assert torch.equal(opened.net(x_BCHW), mine.net(x_BCHW))
    assert not opened.new_head


def test_position_embeddings_of_a_file_are_resized(tmp_path: Path) -> None:
    net = build("vit_tiny_patch16_224", "random").net
    save_file(net.state_dict(), tmp_path / "vit.safetensors")
    backbone = build("vit_tiny_patch16_224", str(tmp_path / "vit.safetensors"), size=64, classes=2)
    assert backbone.net.get_parameter("pos_embed").shape == (1, 17, 192)


def test_weights_of_another_network_are_refused_with_a_few_examples(tmp_path: Path) -> None:
    torch.save(build("resnet34", "random", size=32).net.state_dict(), tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=r"Unexpected key.*layer1\.2\.conv1") as caught:
        build("resnet18", str(tmp_path / "other.pth"), classes=2)
    assert len(caught.value.message) < 2000


def test_weights_of_the_wrong_shape_are_refused(tmp_path: Path) -> None:
    torch.save(build("vit_tiny_patch16_224", "random", size=32).net.state_dict(), tmp_path / "other.pth")
    with pytest.raises(WeightsError, match="are not those of vit_small_patch16_224"):
        build("vit_small_patch16_224", str(tmp_path / "other.pth"))


def test_dropout_rate_reaches_the_classifier() -> None:
    assert build("resnet18", "random", size=32, drop_rate=0.3).net.drop_rate == 0.3


def test_set_classifier_decides_the_logits() -> None:
    net = build("tf_efficientnet_lite0", "random", size=32, classes=2).net
    set_classifier(net, torch.zeros(2, 1280), torch.tensor([1.0, -2.0]))
    assert net(torch.zeros(1, 3, 32, 32)).tolist() == [[1.0, -2.0]]
