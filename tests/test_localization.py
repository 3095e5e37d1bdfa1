"""Maps against outlines whose truth is plain to see."""

import itertools

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import jaccard_score

from fracturelib._io.files import InputError
from fracturelib.explain.localization import (
    AP,
    CUTS,
    EMPTY,
    FIGURES,
    Judged,
    ceiling_images,
    ceiling_map,
    centre_map,
    chance_images,
    components,
    energy_in_mask,
    found_parts,
    grown,
    iou,
    judge_images,
    judged_table,
    marked,
    most_energy,
    otsu_cut,
    parts_precision,
    peak,
    pointing_game,
    possible_peaks,
    rank_accuracy,
    tolerance_at,
    tuned_cut,
)
from fracturelib.explain.overlay import upsample
from fracturelib.metrics.bootstrap import draws, group_codes
from fracturelib.metrics.intervals import wilson_interval

MASK = np.zeros((20, 20), np.uint8)
MASK[5:8, 10:14] = 1
SEEDS = st.integers(0, 2**32 - 1)


def heat_at(row: int, column: int) -> np.ndarray:
    heat = np.full((20, 20), -1, np.float32)
    heat[row, column] = 3
    return heat


def random_case(seed: int, *, levels: int = 6, side: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """A map with many ties and a mask that is not empty."""
    rng = np.random.default_rng(seed)
    heat = rng.integers(-2, levels, (side, side)).astype(np.float32)
    mask = (rng.random((side, side)) < rng.uniform(0.05, 0.7)).astype(np.uint8)
    mask[rng.integers(side), rng.integers(side)] = 1
    return heat, mask


def random_images(seed: int, images: int = 9, side: int = 24) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    masks = np.zeros((images, side, side), np.uint8)
    for mask in masks:
        for _ in range(rng.integers(1, 3)):
            top, left = rng.integers(0, side - 8, 2)
            mask[top : top + rng.integers(2, 8), left : left + rng.integers(2, 8)] = 1
    noise = rng.standard_normal((images, side, side))
    blurred = np.stack([cv2.GaussianBlur(m + 0.6 * n, (0, 0), 1.5) for m, n in zip(masks, noise, strict=True)])
    return blurred.astype(np.float32), masks


def test_the_peak() -> None:
    assert peak(heat_at(6, 11)) == (6, 11)
    assert peak(np.zeros((3, 3), np.float32)) is None and peak(np.full((3, 3), -1, np.float32)) is None


@pytest.mark.parametrize(("row", "column", "tolerance", "hit"), [
    (5, 10, 0, True), (7, 13, 0, True), (8, 13, 0, False), (8, 13, 1, True), (12, 12, 4, False), (12, 12, 5, True),
])  # fmt: skip
def test_the_pointing_game(row: int, column: int, tolerance: int, hit: bool) -> None:
    assert pointing_game(heat_at(row, column), MASK, tolerance=tolerance) is hit


def test_the_tolerance_is_stated_at_384_pixels() -> None:
    assert [tolerance_at(size) for size in (384, 224, 112, 768)] == [15, 9, 4, 30]
    with pytest.raises(InputError, match="size is 0; expected"):
        tolerance_at(0)


def test_an_empty_map_is_a_miss_and_not_an_error() -> None:
    everything = np.ones((20, 20), np.uint8)
    for heat in (np.zeros((20, 20), np.float32), np.full((20, 20), -1, np.float32)):
        assert not pointing_game(heat, everything)
        assert energy_in_mask(heat, everything) == 0 and rank_accuracy(heat, everything) == 0
        assert not marked(heat, 0.0).any() and otsu_cut(heat) == 0
        judged = judge_images(heat[None], MASK[None], tolerance=9, cut=0.0)
        assert judged.empty == 1 and (judged.images[list(FIGURES)].to_numpy() == 0).all()
        assert parts_precision(judged) == 0


def test_energy_is_a_share_of_the_positive_evidence() -> None:
    heat = np.full((20, 20), -9, np.float32)
    heat[5, 10], heat[0, 0] = 3, 1
    assert energy_in_mask(heat, MASK) == pytest.approx(0.75)
    assert energy_in_mask(np.ones((20, 20), np.float32), MASK) == pytest.approx(MASK.mean())


def test_growing_is_by_distance() -> None:
    one = np.zeros((21, 21), np.uint8)
    one[10, 10] = 1
    rows, columns = np.nonzero(grown(one, 5))
    assert np.hypot(rows - 10, columns - 10).max() <= 5.5 and len(rows) > 60
    assert np.array_equal(grown(one, 0), one)


def test_shapes_must_fit() -> None:
    for measure in (pointing_game, energy_in_mask, rank_accuracy):
        with pytest.raises(InputError, match=r"heat has shape \(2, 2\); expected that of the mask"):
            measure(np.zeros((2, 2), np.float32), MASK)


def test_rank_accuracy_of_plain_cases() -> None:
    heat = np.zeros((20, 20), np.float32)
    heat[5:8, 10:14] = np.arange(1, 13).reshape(3, 4)
    assert rank_accuracy(heat, MASK) == 1
    heat[0, :6] = 100  # six of the twelve strongest are now elsewhere
    assert rank_accuracy(heat, MASK) == 0.5
    one = heat_at(6, 11)  # a single pixel of evidence finds a twelfth; the rest is no evidence, whatever its order
    assert rank_accuracy(one, MASK) == pytest.approx(1 / 12)
    assert rank_accuracy(np.ones((20, 20), np.float32), MASK) == pytest.approx(MASK.mean())
    assert np.isnan(rank_accuracy(one, np.zeros((20, 20), np.uint8)))


@given(SEEDS)
@settings(max_examples=40, deadline=None)
def test_rank_accuracy_is_the_mean_over_orders_of_equal_pixels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    heat, mask = random_case(seed, levels=3, side=3)
    k, inside, values = int(mask.sum()), mask.ravel() > 0, heat.ravel()
    found = []
    for order in itertools.islice(itertools.permutations(rng.permutation(9)), 0, None, 97):
        chosen = sorted(order, key=lambda i: -values[i])[:k]
        found.append(sum(inside[i] and values[i] > 0 for i in chosen) / k)
    assert abs(np.mean(found) - rank_accuracy(heat, mask)) < 0.06


@given(SEEDS)
@settings(max_examples=60, deadline=None)
def test_only_energy_and_cuts_mind_a_change_that_keeps_the_order(seed: int) -> None:
    heat, mask = random_case(seed)
    changed = np.sign(heat) * np.abs(heat) ** 3
    assert rank_accuracy(heat, mask) == rank_accuracy(changed, mask)
    assert pointing_game(heat, mask) == pointing_game(changed, mask)
    assert energy_in_mask(7 * heat, mask) == pytest.approx(energy_in_mask(heat, mask))
    assert otsu_cut(7 * heat) == otsu_cut(heat)


@given(SEEDS)
@settings(max_examples=60, deadline=None)
def test_overlap_is_jaccards(seed: int) -> None:
    heat, mask = random_case(seed)
    region = heat > 1
    assert iou(region, mask) == pytest.approx(jaccard_score(mask.ravel(), region.ravel(), zero_division=0))
    assert iou(mask > 0, mask) == 1


def test_marked_is_a_share_of_the_own_maximum() -> None:
    heat = np.array([[-1, 0, 1], [2, 3, 4]], np.float32)
    assert np.array_equal(marked(heat, 0.0), heat > 0)
    assert np.array_equal(marked(heat, 0.5), heat > 2) and np.array_equal(marked(5 * heat, 0.5), heat > 2)


@given(SEEDS)
@settings(max_examples=40, deadline=None)
def test_otsu_has_the_largest_variance_between(seed: int) -> None:
    rng = np.random.default_rng(seed)
    heat = np.concatenate([rng.normal(1, 0.4, 40), rng.normal(4, 0.7, 24)]).clip(0).reshape(8, 8).astype(np.float32)
    levels = np.round(heat / heat.max() * 255)

    def between(cut: float) -> float:
        low, high = levels[levels <= cut], levels[levels > cut]
        return len(low) * len(high) * (low.mean() - high.mean()) ** 2 if len(low) and len(high) else 0.0

    best = max(between(cut) for cut in range(256))
    assert between(otsu_cut(heat) * 255) == pytest.approx(best, rel=1e-6)
    assert np.array_equal(marked(heat, otsu_cut(heat)), levels > otsu_cut(heat) * 255)


def test_the_cut_is_tuned_by_brute_force() -> None:
    heats, masks = random_images(1)
    means = [np.mean([iou(h > c * h.max(), m) for h, m in zip(heats, masks, strict=True)]) for c in CUTS]
    assert tuned_cut(heats, masks) == CUTS[int(np.argmax(means))]
    assert len(set(np.round(means, 3))) > 10 and 0 < np.argmax(means) < 19


def test_components_touch_at_corners() -> None:
    region = np.zeros((6, 6), bool)
    region[0, 0] = region[1, 1] = region[4, 4] = True
    assert sorted(part.sum() for part in components(region)) == [1, 2]
    assert components(np.zeros((6, 6), bool)) == []


def test_a_part_finds_a_fracture_of_half_its_overlap() -> None:
    mask = np.zeros((12, 12), np.uint8)
    mask[0:4, 0:4] = mask[8:12, 8:12] = 1
    heat = np.zeros((12, 12), np.float32)
    heat[0:4, 0:2], heat[8:12, 8:11], heat[0, 11] = 5, 4, 9  # half of one, three quarters of the other, and nothing
    strength, hit, fractures = found_parts(heat, mask, 0.0)
    assert strength.tolist() == [9, 5, 4] and hit.tolist() == [False, True, True] and fractures == 2
    heat[3, 1] = 0
    assert found_parts(heat, mask, 0.0)[1].tolist() == [False, False, True]  # now less than half
    assert found_parts(heat, mask, 0.5)[0].tolist() == [9, 5]


@given(SEEDS)
@settings(max_examples=60, deadline=None)
def test_no_fracture_is_found_twice(seed: int) -> None:
    """Parts that do not touch cannot each share half with one fracture, so that none has to be crossed off."""
    rng = np.random.default_rng(seed)
    mask = (rng.random((9, 9)) < 0.5).astype(np.uint8)
    heat = np.where(rng.random((9, 9)) < 0.1, 1 - mask, mask) * rng.random((9, 9), np.float32)
    _, hit, fractures = found_parts(heat, mask, 0.0)
    assert hit.sum() <= fractures
    parts, truths = components(heat > 0), components(mask > 0)
    shares = np.array([[iou(part, truth) for truth in truths] for part in parts])  # type: ignore[arg-type]
    assert (shares >= 0.5).sum(axis=0).max(initial=0) <= 1 and hit.sum() == (shares >= 0.5).sum()


def detections(image: list[int], strength: list[float], hit: list[bool], fractures: list[int]) -> Judged:
    import pandas as pd

    columns = [*FIGURES, EMPTY]
    frame = pd.DataFrame(np.zeros((len(fractures), len(columns))), columns=columns)
    return Judged(frame, np.array(image, np.int64), np.array(strength), np.array(hit), np.array(fractures))


def test_average_precision_by_hand() -> None:
    # Right, wrong, right: precision 1 at a recall of 1/4, 2/3 at 2/4, and nothing beyond.
    judged = detections([0, 1, 2], [0.9, 0.8, 0.7], [True, False, True], [1, 1, 2])
    assert parts_precision(judged) == pytest.approx((1 + 2 / 3) / 4)
    # Wrong first: the best precision at that recall or a higher one is 2/3.
    judged = detections([0, 1, 2], [0.9, 0.8, 0.7], [False, True, True], [1, 1, 1])
    assert parts_precision(judged) == pytest.approx(2 * (2 / 3) / 3)
    assert parts_precision(detections([], [], [], [1, 1])) == 0
    # Equal strengths come together, in whichever order they are given.
    for hits in ([True, False], [False, True]):
        assert parts_precision(detections([0, 1], [0.5, 0.5], hits, [1, 1])) == pytest.approx(0.5 / 2)


@given(SEEDS)
@settings(max_examples=60, deadline=None)
def test_average_precision_by_definition_and_by_weights(seed: int) -> None:
    rng = np.random.default_rng(seed)
    images = int(rng.integers(1, 6))
    image = rng.integers(0, images, rng.integers(0, 12))
    strength, hit = rng.integers(0, 5, len(image)) / 4, rng.random(len(image)) < 0.5
    fractures = np.bincount(image[hit], minlength=images) + rng.integers(0, 2, images) + 1
    judged = detections(list(image), list(strength), list(hit), list(fractures))
    weights = rng.integers(0, 3, images)
    weights[0] += 1
    again = np.repeat(np.arange(images), weights)
    parts = [np.flatnonzero(image == i) for i in again]
    places = np.concatenate(parts).astype(int)
    all_hits, all_strengths = hit[places], strength[places]
    total = fractures[again].sum()
    points = [
        (all_hits[all_strengths >= t].sum() / total, all_hits[all_strengths >= t].mean()) for t in set(all_strengths)
    ]
    edges = sorted({0.0, *(r for r, _ in points)})
    expected = sum((high - low) * max(p for r, p in points if r >= high) for low, high in itertools.pairwise(edges))
    assert parts_precision(judged, weights) == pytest.approx(expected)


def test_judging_images_is_judging_each() -> None:
    heats, masks = random_images(2)
    heats[3] = -1
    judged = judge_images(heats, masks, tolerance=2, cut=0.4)
    assert list(judged.images.columns) == [*FIGURES, EMPTY] and judged.empty == 1
    for i, (heat, mask) in enumerate(zip(heats, masks, strict=True)):
        expected = [
            pointing_game(heat, mask), pointing_game(heat, mask, tolerance=2), energy_in_mask(heat, mask),
            rank_accuracy(heat, mask), iou(marked(heat, otsu_cut(heat)), mask), iou(marked(heat, 0.4), mask),
            i == 3,
        ]  # fmt: skip
        assert judged.images.iloc[i].tolist() == pytest.approx([float(e) for e in expected])
        assert judged.strength[judged.image == i].tolist() == found_parts(heat, mask, 0.4)[0].tolist()
    assert judged.hit.any() and not judged.hit.all()


def test_the_mask_itself_is_perfect_in_every_figure() -> None:
    _, masks = random_images(3)
    judged = judge_images(masks.astype(np.float32), masks, tolerance=0, cut=0.5)
    assert (judged.images[list(FIGURES)] == 1).all(axis=None) and parts_precision(judged) == 1 and judged.empty == 0


def test_what_cannot_be_judged_is_said() -> None:
    heats, masks = random_images(4)
    with pytest.raises(InputError, match="mask 2 is empty; expected a fracture in each"):
        judge_images(heats, np.where(np.arange(len(masks))[:, None, None] == 2, 0, masks), tolerance=1, cut=0.5)
    with pytest.raises(InputError, match="heats has shape"):
        judge_images(heats[1:], masks, tolerance=1, cut=0.5)
    with pytest.raises(InputError, match="not finite; expected numbers"):
        judge_images(np.where(heats > 0.5, np.nan, heats), masks, tolerance=1, cut=0.5)
    with pytest.raises(InputError, match=r"masks has shape .* at least one image"):
        chance_images(masks[:0], tolerance=1)


def test_chance_is_what_random_maps_reach_in_the_mean() -> None:
    _, masks = random_images(5, images=4)
    rng = np.random.default_rng(0)
    chance = chance_images(masks, tolerance=2)
    drawn = [judge_images(rng.random(masks.shape, np.float32), masks, tolerance=2, cut=0.5).images for _ in range(400)]
    mean = sum(drawn) / len(drawn)
    for name in ("pointing", "pointing, near", "energy", "rank accuracy"):
        assert np.abs(chance.images[name] - mean[name]).max() < (0.1 if "pointing" in name else 0.01), name
        assert abs((chance.images[name] - mean[name]).mean()) < 0.03
    for name in ("IoU, Otsu", "IoU, tuned"):
        assert (chance.images[name] >= mean[name]).all(), "the whole image is the best blind choice"
        assert chance.images[name].tolist() == [m.mean() for m in masks]
    assert parts_precision(chance) == 0
    large = np.ones((2, 8, 8), np.uint8)
    large[1, :, 3:] = 0
    assert parts_precision(chance_images(large, tolerance=0)) == pytest.approx(0.5 * 0.5)


def test_the_centre() -> None:
    for size in (9, 10):
        heat = centre_map(size)
        row, column = np.unravel_index(heat.argmax(), heat.shape)
        assert abs(row - (size - 1) / 2) < 1 and abs(column - (size - 1) / 2) < 1
        assert np.allclose(heat, heat[::-1]) and np.allclose(heat, heat.T) and heat.dtype == np.float32
    assert centre_map(99)[49, 49] * np.exp(-0.5 * (20 / (99 / 4)) ** 2) == pytest.approx(centre_map(99)[49, 69])
    with pytest.raises(InputError, match=r"size is 0; expected at least 1 pixel"):
        centre_map(0)


def test_the_ceiling_map_holds_shares_of_area() -> None:
    mask = np.zeros((8, 8), np.uint8)
    mask[0:2, 0:4], mask[7, 7] = 1, 1
    coarse = ceiling_map(mask, (2, 2))
    assert coarse.shape == (8, 8) and coarse[0, 0] == pytest.approx(0.5) and coarse[7, 7] == pytest.approx(1 / 16)
    assert np.array_equal(ceiling_map(mask, (8, 8)), mask)
    with pytest.raises(InputError, match=r"grid is \(9, 2\); expected"):
        ceiling_map(mask, (9, 2))


def test_at_full_resolution_there_is_no_ceiling() -> None:
    _, masks = random_images(6)
    judged = ceiling_images(masks, masks.shape[1:], tolerance=0, cut=0.5)
    assert (judged.images[list(FIGURES)] == 1).all(axis=None) and parts_precision(judged) == 1


@given(SEEDS)
@settings(max_examples=60, deadline=None)
def test_no_map_of_the_grid_passes_the_ceiling(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = np.zeros((24, 24), np.uint8)
    top, left = rng.integers(0, 20, 2)
    mask[top : top + rng.integers(1, 5), left : left + rng.integers(1, 5)] = 1
    grid = (4, 3)
    best = ceiling_images(mask[None], grid, tolerance=1, cut=0.5).images.iloc[0]
    for _ in range(10):
        coarse = rng.random(grid).astype(np.float32) ** rng.choice([1, 8, 40])
        heat = upsample(coarse, (24, 24))
        place = peak(heat)
        assert place is not None and possible_peaks(grid, (24, 24))[place]
        assert energy_in_mask(heat, mask) <= best["energy"] + 1e-5
        assert pointing_game(heat, mask) <= best["pointing"]
        assert pointing_game(heat, mask, tolerance=1) <= best["pointing, near"]
    # and it is reached: by the best single place
    single = [upsample(np.eye(12, dtype=np.float32)[i].reshape(grid), (24, 24)) for i in range(12)]
    assert max(energy_in_mask(h, mask) for h in single) == pytest.approx(most_energy(mask, grid), abs=1e-5)


def test_a_fracture_between_the_places_cannot_be_pointed_at() -> None:
    mask = np.zeros((32, 32), np.uint8)
    mask[15:17, 15:17] = 1  # the corner of four places of a grid of 2 x 2, whose centres are at 7.5 and 23.5
    judged = ceiling_images(mask[None], (2, 2), tolerance=2, cut=0.5)
    assert judged.images["pointing"][0] == 0 and judged.images["pointing, near"][0] == 0
    assert ceiling_images(mask[None], (2, 2), tolerance=11, cut=0.5).images["pointing, near"][0] == 1


def test_the_table_resamples_patients_together() -> None:
    heats, masks = random_images(7)
    groups = [0, 0, 0, 1, 1, 2, 3, 4, 4]
    judged = {
        "map": judge_images(heats, masks, tolerance=2, cut=0.4),
        "centre": judge_images(np.stack([centre_map(24)] * 9), masks, tolerance=2, cut=0.4),
    }
    table = judged_table(judged, groups, n=60)
    assert list(table["who"].unique()) == ["map", "centre"] and len(table) == 2 * (len(FIGURES) + 2)
    samples = {who: [] for who in judged}
    for w in draws(group_codes(groups, 9), 60, 0):
        again = np.repeat(np.arange(9), w)
        for who, one in judged.items():
            repeated = judge_images(
                (heats if who == "map" else np.stack([centre_map(24)] * 9))[again], masks[again], tolerance=2, cut=0.4
            )
            samples[who].append([*repeated.images[list(FIGURES)].mean(), parts_precision(repeated)])
            assert len(one.images) == 9
    for who in judged:
        rows = table[table["who"] == who].set_index("metric").loc[[*FIGURES, AP]]
        for name, q in (("low", 0.025), ("high", 0.975)):
            expected = np.quantile(samples[who], q, axis=0)
            for k in (0, 1):  # the same in every sample is no certainty: Wilson's, of the five patients
                expected[(np.array(samples[who]) == k).all(axis=0)] = getattr(wilson_interval(5 * k, 5), name)
            assert np.allclose(rows[name], expected)
        apart = np.array(samples["map"]) - np.array(samples[who])
        varies = np.ptp(apart, axis=0) > 0 if who != "map" else np.ones(len(rows), bool)
        assert np.allclose(rows["first_minus_high"][varies], np.quantile(apart, 0.975, axis=0)[varies])
        assert varies.sum() >= 6
    first = table[table["who"] == "map"]
    assert (first[["first_minus", "first_minus_low", "first_minus_high"]] == 0).all(axis=None)
    plain = table[table["who"] == "centre"].set_index("metric")
    assert plain.loc["energy", "value"] == pytest.approx(judged["centre"].images["energy"].mean())


def test_images_of_one_patient_are_one_witness() -> None:
    heats, masks = random_images(8, images=12)
    judged = judge_images(np.repeat(heats[:4], 3, 0), np.repeat(masks[:4], 3, 0), tolerance=1, cut=0.4)
    wide, narrow = (judged_table({"": judged}, groups, n=400) for groups in (np.repeat(np.arange(4), 3), None))
    spread = [(t["high"] - t["low"]).iloc[2] for t in (wide, narrow)]
    assert spread[0] > 1.3 * spread[1] > 0


def test_the_table_says_what_does_not_fit() -> None:
    heats, masks = random_images(9)
    one, fewer = (judge_images(heats[:k], masks[:k], tolerance=1, cut=0.5) for k in (9, 8))
    with pytest.raises(InputError, match=r"judged\['b'\] has 8 images; expected 9, as the first"):
        judged_table({"a": one, "b": fewer})
    with pytest.raises(InputError, match="group has 2 values; expected 9"):
        judged_table({"a": one}, [1, 2])
    with pytest.raises(InputError, match="judged has 0 kinds of maps"):
        judged_table({})


def test_what_no_sample_changes_is_not_certain() -> None:
    masks = np.zeros((6, 16, 16), np.uint8)
    masks[:, 4:8, 4:8] = 1
    right, wrong = masks.astype(np.float32), np.roll(masks, 8, axis=2).astype(np.float32)
    judged = {name: judge_images(heat, masks, tolerance=1, cut=0.5) for name, heat in (("a", right), ("b", wrong))}
    table = judged_table(judged, [0, 0, 1, 1, 2, 2], n=50).set_index(["who", "metric"])
    least = wilson_interval(3, 3).low
    for metric in ("pointing", "energy", "IoU, tuned", "AP at IoU 0.5"):
        first, second = table.loc[("a", metric)], table.loc[("b", metric)]
        assert (first["value"], first["low"], first["high"]) == pytest.approx((1, least, 1)), metric
        assert (second["value"], second["low"], second["high"]) == pytest.approx((0, 0, 1 - least)), metric
        assert (first[["first_minus", "first_minus_low", "first_minus_high"]] == 0).all()
        assert second["first_minus"] == 1 and second["first_minus_low"] == pytest.approx(1 - 2**0.5 * (1 - least))
    few = judged_table({"a": chance_images(masks, tolerance=1)}, n=20).set_index("metric")
    assert few.loc["pointing", "value"] == 1 / 16 and np.isnan(few.loc["pointing", ["low", "high"]].astype(float)).all()
