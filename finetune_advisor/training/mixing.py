"""The images of a step, mixed in pairs.

Neighbors in the batch are partners: the first image with the second, the third with the fourth. The order of an epoch
is drawn by lot, so partners are as well. Every process gets whole pairs, and mixes them before the batch is cut into
parts, so a step is the same however it is divided.

Shapes: B images of a batch, C channels, H and W pixels, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from finetune_advisor.data.batches import Batch
from finetune_advisor.data.plan import mixing_rng
from finetune_advisor.techniques.mixing import Mixing


@dataclass(frozen=True)
class PairMixing:
    """A recipe's mixing, with what it needs to know of the run."""

    technique: Mixing
    classes: int
    seed: int

    def __call__(self, batch: Batch) -> Batch:
        """This process's images of a step with the next one mixed in, and the classes they are made of."""
        rng = mixing_rng(self.seed, batch.step)
        drawn = self.technique.drawn_share(rng)
        partner_B = partners(len(batch.names)).to(batch.inputs.device)
        inputs, share = self.technique.mix(batch.inputs, batch.inputs[partner_B], drawn, rng)
        own_BK = functional.one_hot(batch.labels_B, self.classes).float()
        return replace(batch, inputs=inputs, mixed_BK=own_BK[partner_B].lerp(own_BK, share))


def partners(images: int) -> Tensor:
    """The place of each image's partner (B,); one that is left over takes the image before it, or itself if alone."""
    partner_B = torch.arange(images) ^ 1
    return partner_B if images % 2 == 0 else partner_B.clamp(max=images - 2).clamp(min=0)


def recognized(logits_BK: Tensor, batch: Batch) -> Tensor:
    """The number of images whose class the network says; of a mixed one, the share of the class that it says."""
    answer_B = logits_BK.argmax(dim=1)
    if batch.mixed_BK is None:
        return (answer_B == batch.labels_B).sum()
    return batch.mixed_BK.gather(1, answer_B[:, None]).sum()
