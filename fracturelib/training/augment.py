"""Augmentation of images, and of their masks with them."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def augmented(images: Tensor, generator: torch.Generator) -> Tensor:
    """Images as they might have been taken: (n, s, s) uint8 -> (n, s, s) uint8.

    Mirrored in one of two; turned by up to 8 degrees, zoomed and shifted by up to a sixteenth; contrast and brightness
    changed a little. Never upside down: images are hung one way up.
    """
    n = len(images)
    u = torch.rand(7, n, generator=generator)
    mirror = torch.where(u[0] < 0.5, -1.0, 1.0)
    angle = (u[1] - 0.5) * math.radians(16)
    zoom = 1 + (u[2] - 0.5) / 8
    shift = (u[3:5] - 0.5) / 4
    cos, sin = torch.cos(angle) * zoom, torch.sin(angle) * zoom
    rows = [torch.stack([cos * mirror, -sin, shift[0]], 1), torch.stack([sin * mirror, cos, shift[1]], 1)]
    grid = F.affine_grid(torch.stack(rows, 1), [n, 1, *images.shape[1:]], align_corners=False)
    moved = F.grid_sample(images.unsqueeze(1).float(), grid, align_corners=False).squeeze(1)  # (n, s, s)
    contrast = (1 + (u[5] - 0.5) * 0.4).view(n, 1, 1)
    brightness = ((u[6] - 0.5) * 40).view(n, 1, 1)
    return ((moved - 127) * contrast + 127 + brightness).clamp(0, 255).byte()


def augmented_studies(studies: Tensor, generator: torch.Generator) -> Tensor:
    """Studies as they might have been taken: (n, slices, s, s) uint8 -> the same.

    All slices of a study alike: in reversed order in one of two, as those of the other knee lie; turned by up to 8
    degrees, zoomed by up to an eighth, shifted by up to a sixteenth; the display curve changed. Empty ones stay empty.

    Examples
    --------
    >>> studies = torch.zeros(2, 5, 32, 32, dtype=torch.uint8)
    >>> augmented_studies(studies, torch.Generator().manual_seed(0)).shape
    torch.Size([2, 5, 32, 32])
    """
    n = len(studies)
    u = torch.rand(6, n, generator=generator)
    turned = torch.where((u[0] < 0.5).view(n, 1, 1, 1), studies.flip(1), studies)
    angle, zoom, shift = (u[1] - 0.5) * math.radians(16), 1 + (u[2] - 0.5) / 4, (u[3:5] - 0.5) / 4
    cos, sin = torch.cos(angle) * zoom, torch.sin(angle) * zoom
    rows = [torch.stack([cos, -sin, shift[0]], 1), torch.stack([sin, cos, shift[1]], 1)]
    grid = F.affine_grid(torch.stack(rows, 1), [n, 1, *studies.shape[2:]], align_corners=False)
    moved = F.grid_sample(turned.float(), grid, align_corners=False)  # (n, slices, s, s)
    curve = torch.exp((u[5] - 0.5) * 0.5).view(n, 1, 1, 1)
    return (255 * (moved / 255) ** curve).clamp(0, 255).byte()


def augmented_with_masks(images: Tensor, masks: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """Images as they might have been taken, and their masks: two (n, s, s) uint8 -> the same.

    Mirrored in one of two; turned by up to 15 degrees, zoomed and shifted by up to a sixth; contrast,
    brightness and the display curve changed. `u` (8, n) in 0..1 decides.
    """
    n = len(images)
    mirror = torch.where(u[0] < 0.5, -1.0, 1.0)
    angle = (u[1] - 0.5) * math.radians(30)
    zoom = torch.exp((u[2] - 0.5) / 3)
    shift = (u[3:5] - 0.5) / 3
    cos, sin = torch.cos(angle) * zoom, torch.sin(angle) * zoom
    rows = [torch.stack([cos * mirror, -sin, shift[0]], 1), torch.stack([sin * mirror, cos, shift[1]], 1)]
    grid = F.affine_grid(torch.stack(rows, 1), [n, 1, *images.shape[1:]], align_corners=False)
    moved = F.grid_sample(images.unsqueeze(1).float(), grid, align_corners=False).squeeze(1)  # (n, s, s)
    outlined = (masks.flatten(1) > 0).any(dim=1)
    places = masks.clone()
    places[outlined] = (
        F.grid_sample(masks[outlined].unsqueeze(1).float(), grid[outlined], mode="nearest", align_corners=False)
        .squeeze(1)
        .byte()
    )
    curve = torch.exp((u[5] - 0.5) * 0.7).view(n, 1, 1)
    contrast = (1 + (u[6] - 0.5) * 0.4).view(n, 1, 1)
    brightness = ((u[7] - 0.5) * 40).view(n, 1, 1)
    shown = 255 * (moved / 255) ** curve
    return ((shown - 127) * contrast + 127 + brightness).clamp(0, 255).byte(), places
