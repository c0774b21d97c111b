"""How the signal fares on its way through an untrained network: the variance of each layer's outputs.

Source: slides, initialization (calibrating the variances; small numbers diminish the gradient signal).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

VANISHED, EXPLODED = 1e-3, 1e3
"""Variance of the last layer below the classes over that of the first, from which on training is in danger."""


@dataclass(frozen=True, slots=True)
class LayerSignal:
    """A convolution or linear layer, in the order of the network, and the variance of what it puts out."""

    layer: str
    variance: float


def signal_sentence(signal: Sequence[LayerSignal]) -> str:
    """What happens to the variance between the first layer and the last one below the classes."""
    first, last = signal[0], signal[-2 if len(signal) > 1 else -1]
    told = f"outputs vary by {first.variance:.2g} at {first.layer} and {last.variance:.2g} at {last.layer}"
    ratio = last.variance / first.variance if first.variance > 0 else 0.0
    if ratio < VANISHED:
        return f"{told}: it vanishes on its way; choose another initialization, such as he or unit_variance"
    if not ratio <= EXPLODED:
        return f"{told}: it explodes on its way; choose another initialization, such as he or unit_variance"
    return f"{told}: it gets through"
