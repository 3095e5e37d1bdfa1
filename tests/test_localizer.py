"""The network that is trained to localize: its two heads, what of it learns, its loss."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fracturelib.explain.gradcam import GradCAM
from fracturelib.models.efficientnet_lite import CHANNELS
from fracturelib.models.localizer import STRONGEST, UNFREEZE, ZOOMS, LocalizingEfficientNet, free, looked_at
from fracturelib.models.registry import stages
from fracturelib.training.losses import focal_loss, grid_of, peak_hits, peak_loss


def made(seed: int = 0) -> LocalizingEfficientNet:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return LocalizingEfficientNet(width=16).eval()


def test_the_logit_is_the_class_head_and_the_strongest_places() -> None:
    model, x = made(), torch.randn(3, 1, 64, 96)
    with torch.inference_mode():
        logits, cells = model(x), model.judge(*model.features(x))[1]
        *_, whole = model.features(x)
        plain = model.head(whole)
    assert logits.shape == (3, 2) and cells.shape == (3, 8, 12)
    strongest = cells.flatten(1).sort(dim=1, descending=True).values[:, :STRONGEST].mean(dim=1)
    assert torch.allclose(logits[:, 0], plain[:, 0])
    assert torch.allclose(logits[:, 1], plain[:, 1] + model.trust * strongest, atol=1e-5)


def test_its_layers_can_be_explained() -> None:
    model, x = made(), torch.randn(1, 1, 64, 64)
    with GradCAM(model, stages(model)) as cam:
        maps = cam(x, relu=False)
    assert {k: v.shape for k, v in maps.items()} == {
        "stage1": (1, 16, 16), "stage2": (1, 8, 8), "stage3": (1, 4, 4), "stage4": (1, 2, 2),
    }  # fmt: skip
    assert all(np.abs(v).max() > 0 for v in maps.values())


def test_a_map_is_the_mean_of_looks_at_the_larger_image() -> None:
    model, x = made(), torch.randn(2, 1, 96, 192)
    with torch.inference_mode():
        looks = []
        for zoom in ZOOMS:
            image = F.interpolate(x, size=[32 * round(s * zoom / 32) for s in (96, 192)], mode="bilinear")
            for mirrored in (False, True):
                seen = model.judge(*model.features(image.flip(3) if mirrored else image))[1]
                seen = seen.flip(2) if mirrored else seen
                looks.append(F.interpolate(seen[:, None], size=(12, 24), mode="bilinear")[:, 0])
        found = model.mark(x)
        assert found.shape == (2, 12, 24)
        assert torch.allclose(found, torch.stack(looks).mean(dim=0), atol=1e-5)
        assert torch.allclose(found, model.mark(x.flip(3)).flip(2), atol=1e-4)  # a fracture has no side


def test_looks_end_where_they_began() -> None:
    """A bright place of the image is the bright place of its map: no look is shifted against the others."""
    x = torch.zeros(1, 1, 128, 192)
    x[0, 0, 24:32, 120:128] = 1.0
    found = looked_at(lambda image: F.avg_pool2d(image, 8)[:, 0], x)
    assert found.shape == (1, 16, 24) and divmod(int(found.argmax()), 24) == (3, 15)
    assert looked_at(lambda image: F.avg_pool2d(image, 8)[:, 0], x[:, :, :8, :8]).shape == (1, 1, 1)


def test_an_image_is_judged_without_its_neighbours() -> None:
    model, x = made().train(), torch.randn(3, 1, 64, 64)
    with torch.inference_mode():
        together, alone = model(x), torch.cat([model(one[None]) for one in x])
    assert torch.allclose(together, alone, atol=1e-5)


def test_dropout_is_given() -> None:
    model, x = made(), torch.randn(2, 1, 64, 64)
    with torch.inference_mode():
        kept = model.features(x)
        assert torch.equal(model.judge(*kept)[0], model.judge(*kept, keep=torch.ones(2, CHANNELS))[0])
        none, cells = model.judge(*kept, keep=torch.zeros(2, CHANNELS))
        assert torch.allclose(none[:, 0], model.head.bias[0].expand(2))
        assert torch.equal(cells, model.judge(*kept)[1])  # the map is not dropped


@pytest.mark.parametrize("tune", UNFREEZE)
def test_what_learns(tune: str) -> None:
    model = made()
    heads, tuned = free(model, tune)
    names = {id(p): name for name, p in model.named_parameters()}
    learns = {name for name, p in model.named_parameters() if p.requires_grad}
    assert learns == {names[id(p)] for p in [*heads, *tuned]}
    assert {names[id(p)] for p in heads} == {name for name in names.values() if not name.startswith("stage")}
    stages_that_learn = {name.split(".")[0] for name in learns if name.startswith("stage")}
    first = {"heads": 5, "last": 4, "most": 2, "all": 1}[tune]
    assert stages_that_learn == {f"stage{i}" for i in range(first, 5)}
    looking = {f"{name}.{part}" for name, m in model.named_modules() for part in ("weight", "bias")
               if isinstance(m, torch.nn.Conv2d) and m.groups > 1}  # fmt: skip
    assert looking and (looking <= learns if tune == "all" else not looking & learns)
    x = torch.randn(2, 1, 64, 64)
    F.cross_entropy(model(x), torch.tensor([0, 1])).backward()
    moved = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
    assert moved <= learns and any(name.startswith("stage") for name in moved) == (tune != "heads")


def test_the_grid_keeps_the_smallest_fracture() -> None:
    masks = torch.zeros(2, 64, 64)
    masks[0, 17, 40] = 1
    grid = grid_of(masks, (4, 4))
    assert grid.sum() == 1 and grid[0, 1, 2] == 1


def test_focal_loss_by_definition() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 4, 4, generator=generator)
    truth = (torch.rand(2, 4, 4, generator=generator) < 0.3).float()
    p = torch.sigmoid(logits)
    expected = torch.where(truth == 1, -0.75 * (1 - p) ** 2 * p.log(), -0.25 * p**2 * (1 - p).log()).sum() / truth.sum()
    assert focal_loss(logits, truth) == pytest.approx(float(expected), rel=1e-4)
    weighted = F.binary_cross_entropy_with_logits(logits, truth, reduction="sum") / 2 / truth.sum()
    assert focal_loss(logits, truth, gamma=0, positive=0.5) == pytest.approx(float(weighted), rel=1e-5)
    assert torch.isfinite(focal_loss(logits, torch.zeros_like(logits)))


def test_a_focal_loss_in_parts_is_that_of_the_whole() -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(4, 3, 3, generator=generator)
    truth = (torch.rand(4, 3, 3, generator=generator) < 0.3).float()
    places = float(truth.sum())
    parts = sum(focal_loss(logits[i::2], truth[i::2], places=places) for i in range(2))
    assert torch.allclose(parts, focal_loss(logits, truth))


def test_point_loss_by_definition() -> None:
    generator = torch.Generator().manual_seed(2)
    cells = torch.randn(3, 3, 4, generator=generator)
    truth = torch.zeros(3, 3, 4)
    truth[0, 1, 2] = truth[0, 1, 3] = truth[2, 0, 0] = 1.0
    p = cells.flatten(1).softmax(dim=1).view_as(cells)
    expected = -((p[0, 1, 2] + p[0, 1, 3]).log() + p[2, 0, 0].log()) / 2
    assert peak_loss(cells, truth) == pytest.approx(float(expected), rel=1e-5)
    one = F.cross_entropy(cells[2:].flatten(1), torch.tensor([0]))
    assert peak_loss(cells[2:], truth[2:]) == pytest.approx(float(one), rel=1e-5)
    parts = sum(peak_loss(cells[i : i + 1], truth[i : i + 1], images=2.0) for i in range(3))
    assert parts == pytest.approx(float(expected), rel=1e-5)


def test_point_loss_of_images_without_a_fracture_teaches_nothing() -> None:
    cells = torch.randn(2, 3, 3, requires_grad=True)
    loss = peak_loss(cells, torch.zeros(2, 3, 3))
    loss.backward()
    assert loss.item() == 0 and cells.grad is not None and not cells.grad.any()


def test_peak_hits() -> None:
    cells, truth = torch.zeros(2, 3, 3), torch.zeros(2, 3, 3)
    cells[0, 1, 2] = cells[1, 0, 0] = 1.0
    truth[0, 1, 2] = truth[1, 2, 2] = 1.0
    assert peak_hits(cells, truth) == 0.5
