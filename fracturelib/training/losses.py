"""What a localizing network is trained on: focal loss and peak loss over the cells of its map."""

import torch
import torch.nn.functional as F
from torch import Tensor


def grid_of(masks: Tensor, grid: tuple[int, int]) -> Tensor:
    """Which places of a grid hold a part of a fracture: (n, s, s) of 0 and 1 -> (n, h, w) float32 of 0 and 1."""
    return F.adaptive_max_pool2d(masks[:, None].float(), grid)[:, 0]


def focal_loss(
    logits: Tensor, truth: Tensor, *, gamma: float = 2.0, positive: float = 0.75, places: float | None = None
) -> Tensor:
    """Cross-entropy of places in which the easy ones count little (Lin et al. 2017, arXiv 1708.02002).

    Parameters
    ----------
    logits, truth : (n, h, w) float32
        Truth is 0 or 1.
    gamma : float
        How much less the easy places count; 0 is the weighted cross-entropy.
    positive : float
        Weight of places with a fracture; those without have one minus it.
    places : float, optional
        By how many the sum is divided; those with a fracture (at least one) if not given.

    Returns
    -------
    () float32
    """
    plain = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    missed = 1 - torch.exp(-plain)
    weight = positive * truth + (1 - positive) * (1 - truth)
    return (weight * missed**gamma * plain).sum() / (truth.sum().clamp_min(1.0) if places is None else places)


def peak_loss(cells: Tensor, truth: Tensor, *, images: float | None = None) -> Tensor:
    """How surprised a map is that its strongest cell is not in the fracture: cross-entropy over the cells of an image.

    A softmax over all places of an image says where the fracture is, if there is one; the loss is minus the logarithm
    of what it gives to the places with a part of the fracture together. Images without one do not count.

    Parameters
    ----------
    marks, truth : (n, h, w) float32
        Logits, and 0 or 1.
    images : float, optional
        By how many the sum is divided; those with a fracture (at least one) if not given.

    Returns
    -------
    () float32
    """
    cells, inside = cells.flatten(1), truth.flatten(1) > 0
    known = inside.any(dim=1)
    within = cells[known].masked_fill(~inside[known], -torch.inf).logsumexp(dim=1)
    missed = cells[known].logsumexp(dim=1) - within
    return missed.sum() / (known.sum().clamp_min(1) if images is None else images)


def peak_hits(cells: Tensor, truth: Tensor) -> float:
    """Proportion of images whose strongest place holds a part of the fracture: two (n, h, w) -> 0..1."""
    best = cells.flatten(1).argmax(dim=1)
    return float(truth.flatten(1)[torch.arange(len(truth)), best].mean())
