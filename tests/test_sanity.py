"""Networks that forget what they should and nothing else; likeness against definitions and other people's code."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from torch import nn

from fracturelib._io.files import InputError
from fracturelib.explain.gradcam import GradCAM
from fracturelib.explain.localization import FIGURES, centre_map, chance_images, judge_images, judged_table
from fracturelib.explain.overlay import upsample
from fracturelib.explain.sanity_checks import (
    cascade,
    curve_area,
    image_maps,
    learnt_parts,
    randomised,
    rank_correlation,
    ssim,
    strangers,
)
from fracturelib.models.classifier import Classifier
from fracturelib.models.registry import build_model
from fracturelib.models.small_cnn import SmallCNN
from fracturelib.viz.heatmaps import baselines_plot, cascade_plot, ordered_plot

SEEDS = st.integers(0, 2**32 - 1)


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
    steps = list(cascade(model, seed=1))
    assert [name for name, _ in steps] == names
    for i, (_, part) in enumerate(steps):
        assert changed_parts(model, part) == set(names[: i + 1])
    again = randomised(model, names, seed=1).state_dict()
    assert all(torch.equal(value, again[name]) for name, value in steps[-1][1].state_dict().items())


@pytest.mark.parametrize("batch", [1, 3, 32])
def test_maps_of_many_images_are_the_maps_of_each(batch: int) -> None:
    classifier = Classifier(trained(), {"name": "small_cnn"}, 64, 0.4, 0.3)
    assert isinstance(classifier.model, SmallCNN)
    images = np.random.default_rng(0).integers(0, 256, (5, 64, 64), np.uint8)
    layer = classifier.model.stage3
    found = image_maps(classifier, images, layer, method="LayerCAM", relu=False, batch=batch)
    assert found.shape == (5, 64, 64) and found.dtype == np.float32
    with GradCAM(classifier.model, layer) as cam:
        for image, heat in zip(images, found, strict=True):
            alone = upsample(cam(classifier.tensor(image[None]), method="LayerCAM", relu=False)[0], 64)
            assert np.allclose(heat, alone, atol=1e-5) and np.abs(alone).max() > 1e-3
    assert image_maps(classifier, images[:0], layer).shape == (0, 64, 64)
    assert (image_maps(classifier, images, layer) >= 0).all()


@given(SEEDS)
@settings(max_examples=50, deadline=None)
def test_rank_correlation_is_spearmans(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a = rng.integers(0, 5, (6, 7)).astype(np.float32)  # many equal ones
    b = a + rng.integers(0, 5, (6, 7)).astype(np.float32)
    assert rank_correlation(a, b) == pytest.approx(float(spearmanr(a.ravel(), b.ravel()).statistic), abs=1e-9)
    assert rank_correlation(a, np.exp(a)) == pytest.approx(1) and rank_correlation(a, -a) == pytest.approx(-1)


def test_a_map_without_an_order_is_like_none() -> None:
    a = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert rank_correlation(a, np.zeros((3, 4), np.float32)) == 0 and rank_correlation(a * 0, a * 0) == 0
    with pytest.raises(InputError, match=r"b has shape \(4, 3\)"):
        rank_correlation(a, a.T)


def ssim_by_definition(x: np.ndarray, y: np.ndarray, span: float) -> float:
    """Window by window, with weights that sum to one."""
    offsets = np.arange(-5, 6)
    line = np.exp(-(offsets**2) / (2 * 1.5**2))
    w = np.outer(line, line) / np.outer(line, line).sum()
    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    values = []
    for i in range(5, x.shape[0] - 5):
        for j in range(5, x.shape[1] - 5):
            a, b = x[i - 5 : i + 6, j - 5 : j + 6], y[i - 5 : i + 6, j - 5 : j + 6]
            ma, mb = (w * a).sum(), (w * b).sum()
            va, vb, ab = (w * (a - ma) ** 2).sum(), (w * (b - mb) ** 2).sum(), (w * (a - ma) * (b - mb)).sum()
            values.append((2 * ma * mb + c1) * (2 * ab + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2)))
    return float(np.mean(values))


@pytest.mark.parametrize("span", [1.0, 255.0])
def test_ssim_by_definition(span: float) -> None:
    rng = np.random.default_rng(0)
    x = rng.random((17, 20)) * span
    y = np.clip(0.6 * x + 0.4 * rng.random((17, 20)) * span, 0, span)
    assert ssim(x, y, span=span) == pytest.approx(ssim_by_definition(x, y, span), abs=1e-6)
    assert ssim(x, y, span=span) == pytest.approx(ssim(x / span, y / span), abs=1e-6)


@given(SEEDS)
@settings(max_examples=30, deadline=None)
def test_what_holds_of_every_ssim(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.random((2, 16, 16), np.float32)
    assert ssim(x, x) == pytest.approx(1) and ssim(x, y) == pytest.approx(ssim(y, x))
    assert -1 <= ssim(x, y) < 0.9
    flat = np.full((16, 16), 0.5)
    c1 = 0.01**2
    expected = (2 * 0.5 * 0.7 + c1) / (0.5**2 + 0.7**2 + c1)  # flat windows differ in their means only
    assert ssim(flat, flat + 0.2) == pytest.approx(expected, abs=1e-6)


def test_ssim_needs_room_for_its_window() -> None:
    with pytest.raises(InputError, match=r"a has shape \(10, 30\); expected at least 11 x 11"):
        ssim(np.zeros((10, 30)), np.zeros((10, 30)))
    with pytest.raises(InputError, match=r"b has shape"):
        ssim(np.zeros((12, 12)), np.zeros((13, 12)))
    assert ssim(np.zeros((11, 11)), np.zeros((11, 11))) == 1


def test_strangers_are_of_different_patients() -> None:
    groups = ["a", "a", "a", "a", "b", "c"]
    pairs = strangers(groups, 6, n=500, seed=1)
    assert pairs.shape == (500, 2) and pairs.min() == 0 and pairs.max() == 5
    assert all(groups[i] != groups[j] for i, j in pairs)
    assert np.array_equal(pairs, strangers(groups, 6, n=500, seed=1))
    counted = pd.Series(map(tuple, np.sort(pairs, axis=1))).value_counts()
    assert len(counted) == 9 and counted.min() > 25  # all pairs of strangers, and about as often
    with pytest.raises(InputError, match="groups has 1 patient; expected at least two"):
        strangers(["a", "a"], 2, n=3)


def test_the_area_of_a_curve() -> None:
    assert curve_area(np.linspace(0, 1, 5), np.full(5, 3.0)) == pytest.approx(3)
    assert curve_area(np.array([0, 0.5, 1]), np.array([2.0, 1.0, 0.0])) == pytest.approx(1)


def test_figures_show_what_is_in_the_tables() -> None:
    rng = np.random.default_rng(0)
    masks = np.zeros((4, 16, 16), np.uint8)
    masks[:, 3:8, 4:9] = 1
    judged = {
        "map": judge_images(rng.random((4, 16, 16), np.float32), masks, tolerance=1, cut=0.5),
        "chance": chance_images(masks, tolerance=1),
        "centre": judge_images(np.stack([centre_map(16)] * 4), masks, tolerance=1, cut=0.5),
    }
    table = judged_table(judged, n=20)
    ax = baselines_plot(table).axes[0]
    lines = {line.get_label(): line.get_xdata() for line in ax.lines if not line.get_label().startswith("_")}
    assert set(lines) == set(judged)
    assert [t.get_text() for t in ax.get_yticklabels()][: len(FIGURES)] == list(FIGURES)
    for name, values in lines.items():
        assert np.allclose(values, table.loc[table["who"] == name, "value"])

    likeness = pd.DataFrame({"Spearman": [1, 0.3], "SSIM": [1, 0.6]}, index=["nothing", "+ head"])
    ax = cascade_plot(likeness, {"Spearman": 0.1, "SSIM": 0.5}).axes[0]
    assert {line.get_label() for line in ax.lines} >= {"Spearman", "SSIM"}
    with pytest.raises(InputError, match="expected 'SSIM' too"):
        cascade_plot(likeness, {"Spearman": 0.1})

    share = np.linspace(0, 1, 4)
    pair = [{"by the map": share, "at random": share / 2}] * 2
    made = ordered_plot(share, {"mean": pair, "blur": pair})
    assert len(made.axes) == 4 and all(len(ax.lines) == 2 for ax in made.axes)
