"""Asking the network itself: what is lost where the image is covered, and what a channel lets through."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fracturelib._io.files import InputError
from fracturelib.explain import perturbation
from fracturelib.explain.gradcam import GradCAM
from fracturelib.explain.perturbation import logits_of, occlusion, ordered_curves, score_cam, without
from fracturelib.models.small_cnn import SmallCNN


class Weighted(nn.Module):
    """The logit of a fracture is a weighted sum of the pixels."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.register_buffer("weights", weights)

    def forward(self, x: Tensor) -> Tensor:
        logit = (x * self.weights).sum(dim=(1, 2, 3))
        return torch.stack([-logit, logit], dim=1)


def image(height: int = 40, width: int = 48, seed: int = 0) -> Tensor:
    return torch.rand(1, 1, height, width, generator=torch.Generator().manual_seed(seed))


def small() -> SmallCNN:
    torch.manual_seed(0)
    return SmallCNN(width=4)


def test_modes_are_restored_even_if_the_caller_stops() -> None:
    model = small().train()
    model.stage1.eval()
    before = [m.training for m in model.modules()]
    assert len(list(logits_of(model, [image(64, 64)] * 3))) == 3
    assert [m.training for m in model.modules()] == before
    unfinished = logits_of(model, [image(64, 64)] * 3)
    next(unfinished)
    unfinished.close()
    assert [m.training for m in model.modules()] == before


def test_occlusion_loses_what_was_covered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perturbation, "BATCH", 7)
    x, weights = image(), torch.rand(40, 48, generator=torch.Generator().manual_seed(1))
    model = Weighted(weights)
    side, stride, told = 8, 8, []
    found = occlusion(model, x, side=side, stride=stride, progress=told.append)
    opposite = occlusion(model, x, "not fractured", side=side, stride=stride)
    assert found.shape == (5, 6) and found.dtype == np.float32
    mean = float(x.mean())
    for row in range(5):
        for column in range(6):
            part = np.s_[row * 8 : row * 8 + 8, column * 8 : column * 8 + 8]
            expected = float(((x[0, 0] - mean) * weights)[part].sum())
            assert found[row, column] == pytest.approx(max(expected, 0), abs=1e-4)
            assert opposite[row, column] == pytest.approx(max(-expected, 0), abs=1e-4)
    assert told[-1] == 1 and told == sorted(told) and len(told) == 5
    assert found.any() and opposite.any()


@pytest.mark.parametrize(("side", "stride"), [(64, 8), (8, 16), (8, 0)])
def test_squares_that_do_not_fit(side: int, stride: int) -> None:
    with pytest.raises(InputError, match=f"side is {side}, stride {stride}; expected 1 <= stride <= side <= 40"):
        occlusion(Weighted(torch.ones(40, 48)), image(), side=side, stride=stride)


def test_one_image_at_a_time() -> None:
    with pytest.raises(InputError, match="x holds 2 images; expected one"):
        occlusion(small(), image(64, 64).repeat(2, 1, 1, 1))
    with pytest.raises(InputError, match="x holds 2 images; expected one"):
        score_cam(small(), nn.Identity(), image(64, 64).repeat(2, 1, 1, 1))


def test_score_cam_by_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perturbation, "BATCH", 5)
    model, x, told = small().eval(), image(64, 48), []
    found = score_cam(model, model.stage3, x, progress=told.append)
    with GradCAM(model, model.stage3) as cam:
        activation = cam.evidence(x)[""][0][0]
    gains = []
    with torch.no_grad():
        nothing = float(model(torch.zeros_like(x))[0, 1])
        for channel in activation:
            mask = (channel - channel.min()) / max(float(channel.max() - channel.min()), 1e-12)
            mask = nn.functional.interpolate(mask[None, None], size=(64, 48), mode="bilinear", align_corners=False)
            gains.append(float(model(x * mask)[0, 1]) - nothing)
    weights = torch.softmax(torch.tensor(gains), dim=0)
    expected = sum(w * c for w, c in zip(weights, activation, strict=True) if c.max() > c.min())
    assert np.abs(found - expected.clamp_min(0).numpy()).max() < 1e-5
    assert told[-1] == 1 and len(told) == -(-len(activation) // 5)


def test_without_covers_a_copy() -> None:
    x = image()
    before = x.clone()
    covered = without(x, (5, 10, 8, 4))
    changed = (covered != x)[0, 0]
    assert torch.equal(x, before)
    assert changed[5:13, 10:14].all() and int(changed.sum()) == 32
    assert torch.allclose(covered[0, 0, 5:13, 10:14], x.mean())


@pytest.mark.parametrize("baseline", ["mean", "blur"])
def test_deletion_and_insertion(baseline: str) -> None:
    x = image(seed=3)
    weights = torch.zeros(40, 48)
    weights[10:20, 20:30] = 1
    model = Weighted(weights)
    bright = x.clone()
    bright[:, :, 10:20, 20:30] += 2
    right, wrong = np.zeros((40, 48), np.float32), np.zeros((40, 48), np.float32)
    right[10:20, 20:30] = 1
    wrong[30:, :] = 1
    share, deletion, insertion = ordered_curves(model, bright, right, steps=24, baseline=baseline)
    assert share[0] == 0 and share[-1] == 1 and len(share) == len(deletion) == len(insertion) == 25
    whole = float(model(bright)[0, 1])
    assert deletion[0] == pytest.approx(whole, rel=1e-5) and insertion[-1] == pytest.approx(whole, rel=1e-5)
    assert deletion[-1] == pytest.approx(insertion[0], rel=1e-5)
    _, slow, late = ordered_curves(model, bright, wrong, steps=24, baseline=baseline)
    assert deletion.mean() < slow.mean() and insertion.mean() > late.mean()
    # The square is 100 of 1,920 pixels: gone after the second of 24 steps.
    assert deletion[2] == pytest.approx(deletion[-1], rel=1e-5)
