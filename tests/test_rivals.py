"""What a map has to beat, on a small network and made-up outlines."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from fracturelib._io.files import InputError
from fracturelib.data.labels import STUDY_CLASSES
from fracturelib.explain import rivals
from fracturelib.explain.cam_methods import METHODS
from fracturelib.explain.localization import (
    TOLERANCE,
    centre_map,
    judge_images,
    pointing_game,
    tolerance_at,
    tuned_cut,
)
from fracturelib.explain.perturbation import BASELINES, ordered_curves
from fracturelib.explain.pixel_orders import KINDS, compare_orders, paired_limits
from fracturelib.explain.rivals import (
    SHOWN,
    OutlinedImages,
    averaged,
)
from fracturelib.explain.sanity_checks import image_maps, untrained
from fracturelib.models.classifier import Classifier
from fracturelib.models.registry import build_model, stages
from fracturelib.viz import montage

SIZE = 48


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    model = build_model("small_cnn", seed=1, width=4).eval()
    with torch.no_grad():
        model.head.weight *= 40
    return Classifier(model, {"name": "small_cnn", "width": 4}, SIZE, 0.5, 0.25)


def some(seed: int, n: int = 6) -> OutlinedImages:
    rng = np.random.default_rng(seed)
    masks = np.zeros((n, SIZE, SIZE), np.uint8)
    for i in range(n):
        y, x = rng.integers(4, 34, 2)
        masks[i, y : y + 9, x : x + 7] = 1
    return OutlinedImages(
        rng.integers(0, 256, (n, SIZE, SIZE), dtype=np.uint8), masks, [f"P{i // 2}" for i in range(n)]
    )


VAL, TEST = some(0), some(1)


def test_near_is_one_number() -> None:
    assert TOLERANCE == 15 / 384
    assert [tolerance_at(s) for s in (384, 224, 112)] == [15, 9, 4]


def test_each_rival_is_cut_where_it_does_best_itself(classifier: Classifier) -> None:
    found = TEST.rivals(classifier, VAL, seeds=(0, 1))
    assert list(found) == ["chance", "the centre", "untrained", "the ceiling"]
    by_seed = []
    for seed in (0, 1):
        blank = untrained(classifier, seed=seed)
        on_test, on_val = (image_maps(blank, p.images, blank.model.stage4) for p in (TEST, VAL))
        cut = tuned_cut(on_val, VAL.masks)
        by_seed.append(judge_images(on_test, TEST.masks, tolerance=tolerance_at(SIZE), cut=cut))
    expected = (by_seed[0].images + by_seed[1].images) / 2
    pd.testing.assert_frame_equal(found["untrained"].images, expected)
    middle = [pointing_game(centre_map(SIZE), m, tolerance=tolerance_at(SIZE)) for m in TEST.masks]
    assert found["the centre"].images["pointing, near"].tolist() == middle
    assert found["chance"].images["pointing"].mean() == pytest.approx(TEST.masks.mean())


def test_untrained_networks_differ_by_seed_and_from_the_trained_one(classifier: Classifier) -> None:
    nets = [untrained(classifier, seed=s).logits(TEST.images) for s in (0, 0, 1)]
    assert np.array_equal(nets[0], nets[1]) and not np.allclose(nets[0], nets[2])
    assert not np.allclose(nets[0], classifier.logits(TEST.images))


def test_judging_a_layer_is_judging_its_maps(classifier: Classifier) -> None:
    judged = TEST.judge_layer(classifier, VAL, layer="stage3", method="LayerCAM")
    maps = [image_maps(classifier, p.images, classifier.model.stage3, method="LayerCAM") for p in (TEST, VAL)]
    expected = TEST.judge(maps[0], cut=tuned_cut(maps[1], VAL.masks))
    pd.testing.assert_frame_equal(judged.images, expected.images)


def test_some_outlined_images_keep_their_patients() -> None:
    two = TEST[[4, 0, 0]]
    assert two.groups == ["P2", "P0", "P0"] and np.array_equal(two.masks[1], TEST.masks[0])
    assert OutlinedImages(TEST.images, TEST.masks)[[1]].groups is None and two.tolerance == tolerance_at(SIZE)
    maps = np.random.default_rng(2).random(two.masks.shape, np.float32)
    expected = judge_images(maps, two.masks, tolerance=tolerance_at(SIZE), cut=0.5)
    pd.testing.assert_frame_equal(two.judge(maps, cut=0.5).images, expected.images)
    assert two.chance().images["pointing"].tolist() == [m.mean() for m in two.masks]


def test_an_average_of_judgements() -> None:
    rng = np.random.default_rng(4)
    one, two = (
        judge_images(rng.random(TEST.masks.shape, np.float32) * k, TEST.masks, tolerance=2, cut=0.9) for k in (1, 50)
    )
    both = averaged([one, two])
    assert np.allclose(both.images, (one.images + two.images) / 2)
    assert len(both.strength) == len(one.strength) + len(two.strength) and both.strength.max() == pytest.approx(1)
    assert (both.fractures == 2 * one.fractures).all()
    with pytest.raises(InputError, match="several has no judgements"):
        averaged([])


def test_methods_by_layer_are_the_maps_of_each(classifier: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rivals, "BATCH", 4)
    table = TEST.methods_by_layer(classifier)
    assert list(table.index) == list(METHODS) and list(table.columns) == list(stages(classifier.model))
    for method, layer in (("HiResCAM", "stage3"), ("Grad-CAM", "stage4")):
        maps = image_maps(classifier, TEST.images, stages(classifier.model)[layer], method=method)
        near = [pointing_game(h, m, tolerance=tolerance_at(SIZE)) for h, m in zip(maps, TEST.masks, strict=True)]
        assert table.loc[method, layer] == pytest.approx(np.mean(near))


def test_some_of_the_images_keep_their_patients() -> None:
    last = np.arange(len(TEST.images)) >= len(TEST.images) - 2
    for which in (slice(-2, None), last, np.flatnonzero(last), [len(last) - 2, len(last) - 1]):
        part = TEST[which]
        assert np.array_equal(part.images, TEST.images[-2:]) and np.array_equal(part.masks, TEST.masks[-2:])
        assert list(part.groups or []) == list(TEST.groups or [])[-2:]
    assert OutlinedImages(TEST.images, TEST.masks)[:1].groups is None
    with pytest.raises(InputError, match="groups has 1 rows; expected 6, one for each image"):
        OutlinedImages(TEST.images, TEST.masks, ["P1"])


def test_rivals_need_images_to_judge_and_of_validation(classifier: Classifier) -> None:
    for judged, val, missing in ((TEST, TEST[:0], "of validation"), (TEST[:0], TEST, "to judge")):
        for call in (judged.rivals, judged.judge_layer):
            with pytest.raises(InputError, match=f"no outlined images {missing}"):
                call(classifier, val)


def test_images_masks_and_layers_that_do_not_fit_are_named(classifier: Classifier) -> None:
    with pytest.raises(InputError, match=r"images is float64 of shape \(6, 48, 48\); expected uint8"):
        OutlinedImages(TEST.images / 255, TEST.masks)
    with pytest.raises(InputError, match=r"masks has shape \(6, 24, 24\); expected \(6, 48, 48\)"):
        OutlinedImages(TEST.images, TEST.masks[:, ::2, ::2])
    for call in (TEST.judge_layer, TEST.rivals):
        with pytest.raises(InputError, match="layer is 'stage9'; expected one of"):
            call(classifier, VAL, layer="stage9")
        with pytest.raises(InputError, match="the network is one of studies; expected one of images"):
            call(replace(classifier, classes=STUDY_CLASSES), VAL)


def test_the_table_for_the_eye(classifier: Classifier) -> None:
    judged = {"the map": TEST.judge_layer(classifier, VAL), **TEST.rivals(classifier, VAL, seeds=(0,))}
    table = TEST.compare(judged, n=30)
    assert list(table.columns) == list(judged) and list(table.index) == list(SHOWN)
    value = judged["the centre"].images["energy"].mean()
    assert table.loc["energy", "the centre"].startswith(f"{value:.2f} (")
    paired = TEST.compare(judged, paired=True, n=30)
    assert list(paired.columns) == [f"minus {name}" for name in list(judged)[1:]]
    gap = judged["the map"].images["energy"].mean() - value
    assert paired.loc["energy", "minus the centre"].startswith(f"{gap:+.2f} (")
    assert paired.loc["energy"].str.fullmatch(r"[+-]\d\.\d\d \(.*\) (better|worse|not shown)").all()
    figures = TEST.table(judged, n=30)
    assert list(figures.index) == list(SHOWN) * len(judged) and set(figures["who"]) == set(judged)
    assert figures[figures["who"] == "the centre"].loc["energy", "value"] == value


def test_orders_are_compared_image_by_image(classifier: Classifier) -> None:
    maps = image_maps(classifier, TEST.images, classifier.model.stage4)
    orders = {"by the map": maps, "from the centre": np.stack([centre_map(SIZE)] * len(maps))}
    answers = compare_orders(classifier, TEST.images, orders, steps=4)
    assert set(answers.found) == {(b, k, o) for b in BASELINES for k in KINDS for o in orders}
    share, deletion, insertion = ordered_curves(
        classifier.model, classifier.tensor(TEST.images[2:3]), maps[2], steps=4, baseline="blur"
    )
    assert np.allclose(answers.found["blur", "deletion", "by the map"][2], deletion)
    assert np.allclose(answers.found["blur", "insertion", "by the map"][2], insertion)
    areas = answers.areas("blur", "deletion")
    assert areas["by the map"][2] == pytest.approx(np.trapezoid(deletion, share))
    gap = areas["by the map"] - areas["from the centre"]
    table = answers.table(TEST.groups, n=40)
    row = table.loc["deletion, blur"]
    low, high = paired_limits(gap, TEST.groups, n=40)
    assert low <= gap.mean() <= high
    assert row["minus from the centre"] == f"{gap.mean():+.2f} ({low:+.2f} to {high:+.2f})"
    assert row["better than from the centre in"] == f"{(gap < 0).sum()} of {len(gap)}"
    means = answers.means().set_index(["baseline", "kind", "order"])
    one = means.loc[("blur", "deletion", "by the map")]
    assert np.allclose(one["proportion of pixels"], share) and len(means) == 5 * len(answers.found)
    assert np.allclose(one["logit"], answers.found["blur", "deletion", "by the map"].mean(axis=0))
    with pytest.raises(InputError, match="nothing was found for baseline 'black'"):
        answers.areas("black", "deletion")
    with pytest.raises(InputError, match=r"orders\['few'\] has 1 maps; expected 6"):
        compare_orders(classifier, TEST.images, {"few": maps[:1]})


def test_intervals_of_paired_differences_draw_patients() -> None:
    gap = np.random.default_rng(0).normal(0.2, 1, 12)
    wide = paired_limits(np.repeat(gap, 4), np.repeat(np.arange(12), 4), n=300)
    narrow = paired_limits(np.repeat(gap, 4), None, n=300)
    assert wide[1] - wide[0] > 1.5 * (narrow[1] - narrow[0])


def test_a_montage_of_maps_marks_the_peaks() -> None:
    heats = [None, np.zeros((3, 3), np.float32), np.eye(3, dtype=np.float32)[::-1] * np.array([1, 2, 3], np.float32)]
    figure = montage(TEST.images[:3], ["a", "b", "c"], heats=heats, columns=3, masks=TEST.masks[:3], peaks=True)
    crosses = [[line for line in ax.lines if line.get_marker() == "+"] for ax in figure.axes]
    assert [len(c) for c in crosses] == [0, 0, 2]
    assert crosses[2][0].get_xdata()[0] > SIZE / 2 > crosses[2][0].get_ydata()[0]
    with pytest.raises(InputError, match="heats has 1 values; expected 3"):
        montage(TEST.images[:3], ["a", "b", "c"], heats=heats[:1])
    with pytest.raises(InputError, match="columns is 0"):
        montage(TEST.images[:3], ["a", "b", "c"], columns=0)
