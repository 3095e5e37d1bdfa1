"""Networks that forget what they should and nothing else, and the maps of many images."""

import numpy as np
import pytest
import torch
from torch import nn

from fracturelib._io.files import InputError
from fracturelib.explain import sanity_checks
from fracturelib.explain.gradcam import GradCAM
from fracturelib.explain.localization import AP, EMPTY, FIGURES, centre_map, chance_images, judge_images, judged_table
from fracturelib.explain.overlay import upsample
from fracturelib.explain.rivals import OutlinedImages
from fracturelib.explain.sanity_checks import (
    cascade,
    image_maps,
    learnt_parts,
    randomised,
    untrained,
)
from fracturelib.models.classifier import Classifier
from fracturelib.models.registry import build_model
from fracturelib.models.small_cnn import SmallCNN
from fracturelib.viz import forest_plot


def trained(width: int = 4) -> nn.Module:
    """A network none of whose weights or statistics is what it was in the beginning."""
    model = build_model("small_cnn", seed=5, width=width)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in [*model.parameters(), *(b for b in model.buffers() if b.is_floating_point())]:
            value.add_(0.3 * torch.rand(value.shape, generator=generator))
    return model.eval()


def changed_parts(before: nn.Module, after: nn.Module) -> set[str]:
    old, new = before.state_dict(), after.state_dict()
    return {name.split(".")[0] for name in old if not torch.equal(old[name], new[name])}


def test_only_the_named_parts_forget() -> None:
    model = trained()
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    found = randomised(model, ["head", "stage3"], seed=2)
    assert changed_parts(model, found) == {"head", "stage3"}
    assert all(torch.equal(value, kept[name]) for name, value in model.state_dict().items()), "the original changed"
    assert torch.equal(found.stage3[1][1].running_mean, torch.zeros(16)), "statistics are learnt, too"
    assert not found.training and randomised(model.train(), ["head"]).training


def test_a_part_forgets_alike_whatever_else_does() -> None:
    model = trained()
    one, both = randomised(model, ["stage2"], seed=2), randomised(model, ["head", "stage2"], seed=2)
    other = randomised(model, ["stage2"], seed=3)
    for a, b, c in zip(*(m.stage2.parameters() for m in (one, both, other)), strict=True):
        assert torch.equal(a, b)
        assert a.ndim < 2 or not torch.equal(a, c)


def test_the_global_random_state_is_left_alone() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    randomised(trained(), ["head"], seed=4)
    assert torch.equal(torch.rand(3), expected)


def test_an_unknown_part_is_named() -> None:
    with pytest.raises(InputError, match="part is 'stage9'; expected one of contrast, stage1"):
        randomised(trained(), ["stage9"])


def test_the_cascade_goes_from_the_logits_back_to_the_image() -> None:
    model = trained()
    names = ["head", "stage4", "stage3", "stage2", "stage1"]
    assert learnt_parts(model) == names
    classifier = Classifier(model, {"name": "small_cnn"}, 64, 0.4, 0.3)
    steps = list(cascade(classifier, seed=1))
    assert [name for name, _ in steps] == names
    for i, (_, forgetful) in enumerate(steps):
        assert changed_parts(model, forgetful.model) == set(names[: i + 1]) and forgetful.mean == classifier.mean
    for last in (randomised(model, names, seed=1), untrained(classifier, seed=1).model):
        assert changed_parts(last, steps[-1][1].model) == set()


@pytest.mark.parametrize("batch", [1, 3, 32])
def test_maps_of_many_images_are_the_maps_of_each(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sanity_checks, "BATCH", batch)
    classifier = Classifier(trained(), {"name": "small_cnn"}, 64, 0.4, 0.3)
    assert isinstance(classifier.model, SmallCNN)
    images = np.random.default_rng(0).integers(0, 256, (5, 64, 64), np.uint8)
    layer = classifier.model.stage3
    found = image_maps(classifier, images, layer, method="LayerCAM")
    assert found.shape == (5, 64, 64) and found.dtype == np.float32
    with GradCAM(classifier.model, layer) as cam:
        for image, heat in zip(images, found, strict=True):
            alone = upsample(cam(classifier.tensor(image[None]), method="LayerCAM")[0], 64)
            assert np.allclose(heat, alone, atol=1e-5) and np.abs(alone).max() > 1e-3
    assert image_maps(classifier, images[:0], layer).shape == (0, 64, 64)
    assert (image_maps(classifier, images, layer) >= 0).all()


def test_figures_show_what_is_in_the_tables() -> None:
    rng = np.random.default_rng(0)
    masks = np.zeros((4, 16, 16), np.uint8)
    masks[:, 3:8, 4:9] = 1
    judged = {
        "map": judge_images(rng.random((4, 16, 16), np.float32), masks, tolerance=1, cut=0.5),
        "chance": chance_images(masks, tolerance=1),
        "centre": judge_images(np.stack([centre_map(16)] * 4), masks, tolerance=1, cut=0.5),
    }
    table, metrics = judged_table(judged, n=20), [*FIGURES, AP, EMPTY]
    shown = OutlinedImages(masks, masks, list(range(4))).table(judged, metrics=metrics, n=20)
    ax = forest_plot({"mean over images": shown}, "value", series="who").axes[0]
    lines = {line.get_label(): line.get_xdata() for line in ax.lines if not line.get_label().startswith("_")}
    assert set(lines) == set(judged)
    assert [t.get_text() for t in ax.get_yticklabels()] == metrics
    for name, values in lines.items():
        assert np.allclose(values, table.loc[table["who"] == name, "value"])
