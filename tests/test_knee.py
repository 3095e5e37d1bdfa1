"""Simulated knees: the physics is the closed formula, truth lies where it should, and no sign gives the label away."""

import json

import numpy as np
import pandas as pd
import pytest

from fracturelib._io.files import InputError
from fracturelib.simulate import TISSUES
from fracturelib.simulate.knee_anatomy import band_path
from fracturelib.simulate.knee_landmarks import ATTACHMENTS, distance_at, ends_of
from fracturelib.simulate.knee_ligament import FIBRES, TEARS, draw_bundle
from fracturelib.simulate.knee_paint import soft
from fracturelib.simulate.knee_plan import _balanced, plan_knees
from fracturelib.simulate.knee_scan import Sequence, display, draw_sequence, scan
from fracturelib.simulate.knee_set import COLUMNS, simulate_knees
from fracturelib.simulate.knee_space import Affine, KneePose, Stack, bone_place, make_space
from fracturelib.simulate.knee_study import simulate_knee
from fracturelib.simulate.knee_tissues import KneeTissue, signals

SMALL = (10, 64, 64)
QUIET = Sequence(3.0, 3000.0, 30.0, 1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0)


@pytest.fixture(scope="module")
def studies():
    return {tear: simulate_knee(3, tear=tear, shape=(20, 64, 64)) for tear in TEARS}


# The signal


@pytest.mark.parametrize("name", sorted(TISSUES))
@pytest.mark.parametrize(("tr", "te"), [(600.0, 12.0), (3000.0, 30.0), (5000.0, 90.0)])
def test_the_signal_is_the_closed_formula(name, tr, te):
    tissue = TISSUES[name]
    for number, field in enumerate((1.5, 3.0)):
        want = tissue.proton_density * (1 - np.exp(-tr / tissue.t1[number])) * np.exp(-te / tissue.t2[number])
        water, fat = signals(field, tr=tr, te=te)[name]
        assert water + fat == pytest.approx(want, rel=1e-6)
        assert fat == pytest.approx(want * tissue.fat, rel=1e-6)


def test_fat_saturation_takes_fat_alone():
    fat, water = (KneeTissue(0.9, (288, 371), (165, 133), part) for part in (1.0, 0.0))
    full = water.signal(tr=3000, te=30)
    assert fat.signal(tr=3000, te=30, fat_saturation=0.9) == pytest.approx(0.1 * full)
    assert water.signal(tr=3000, te=30, fat_saturation=0.9) == pytest.approx(full)


def test_the_limits_of_the_equation():
    tissue = KneeTissue(0.8, (500, 1000), (25, 50))
    assert tissue.signal(tr=1e9, te=0) == pytest.approx(0.8)
    assert tissue.signal(tr=1e9, te=50) == pytest.approx(0.8 / np.e)
    assert tissue.signal(tr=1000, te=0) == pytest.approx(0.8 * (1 - 1 / np.e))
    assert tissue.signal(tr=500, te=25, field=1.5) == pytest.approx(0.8 * (1 - 1 / np.e) / np.e)


def test_proton_density_with_fat_saturation_has_the_contrast_that_is_published():
    """Fluid brightest, cartilage and muscle grey, marrow dark, fibrous tissue darkest."""
    for field in (1.5, 3.0):
        value = {name: water + 0.1 * fat for name, (water, fat) in signals(field, tr=3000, te=30).items()}
        assert value["fluid"] > value["oedema"] > value["cartilage"] > value["muscle"] > value["marrow"]
        assert value["marrow"] > value["ligament"] > value["tendon"] > value["cortex"]
        assert value["mucoid"] > 4 * value["ligament"] and value["bruise"] > 2 * value["marrow"]


@pytest.mark.parametrize(
    "wrong",
    [{"tr": 0, "te": 30}, {"tr": float("nan"), "te": 30}, {"tr": 3000, "te": -1},
     {"tr": 3000, "te": 30, "fat_saturation": 1.1}, {"tr": 3000, "te": 30, "field": 7.0}],
)  # fmt: skip
def test_times_and_proportions_out_of_range_are_said(wrong):
    with pytest.raises(InputError, match="expected"):
        TISSUES["fat"].signal(**wrong)


# The scanner


def test_without_noise_and_with_all_of_k_space_the_picture_is_the_mean_over_the_slice():
    stack = Stack(3, 32, 32, 1.0, 4.0, 3.5, 2)
    water = np.random.default_rng(0).uniform(0, 1, (6, 32, 32)).astype(np.float32)
    made = scan(water, np.zeros_like(water), stack, QUIET, np.random.default_rng(1))
    assert made == pytest.approx(1.25 * water.reshape(3, 2, 32, 32).mean(axis=1), abs=2e-5)


def test_noise_is_rician():
    stack = Stack(6, 64, 64, 1.0, 4.0, 3.5, 1)
    noisy = Sequence(3.0, 3000.0, 30.0, 1.0, 0.05, 1.0, 1.0, 0.0, 0.0, 0.0)
    dark = np.zeros((6, 64, 64), np.float32)
    air = scan(dark, dark, stack, noisy, np.random.default_rng(2))
    assert air.mean() == pytest.approx(0.05 * np.sqrt(np.pi / 2), rel=0.02), "Rayleigh where there is no signal"
    assert air.std() == pytest.approx(0.05 * np.sqrt(2 - np.pi / 2), rel=0.02)
    bright = scan(dark + 0.8, dark, stack, noisy, np.random.default_rng(2))
    assert bright.std() == pytest.approx(0.05, rel=0.03) and bright.mean() == pytest.approx(1.0, rel=0.01)


def test_what_is_not_measured_of_k_space_rings():
    stack = Stack(1, 64, 64, 1.0, 4.0, 3.5, 1)
    edge = np.zeros((1, 64, 64), np.float32)
    edge[:, 16:48] = 0.4
    cut = Sequence(3.0, 3000.0, 30.0, 1.0, 0.0, 0.6, 1.0, 0.0, 0.0, 0.0)
    made = scan(edge, np.zeros_like(edge), stack, cut, np.random.default_rng(0))[0, :, 32]
    assert made.max() > 1.05 * 0.5, "an overshoot beside the edge"
    assert np.abs(np.fft.fft(scan(edge, edge * 0, stack, QUIET, np.random.default_rng(0))[0, :, 32]))[24] > 0
    moved = Sequence(3.0, 3000.0, 30.0, 1.0, 0.0, 1.0, 1.0, 2.0, 0.0, 0.0)
    ghost = scan(edge, np.zeros_like(edge), stack, moved, np.random.default_rng(0))[0, :, 32]
    assert ghost[:10].max() > 0.01 > edge[0, :10].max()


def test_fat_saturation_is_not_perfect():
    stack = Stack(4, 64, 64, 1.0, 4.0, 3.5, 1)
    fat = np.ones((4, 64, 64), np.float32)
    usual = draw_sequence(1.5, np.random.default_rng(4))
    made = scan(np.zeros_like(fat), fat, stack, usual, np.random.default_rng(5))
    assert made.max() > 1.5 * np.median(made) and np.median(made) < 0.4


def test_the_window_saturates():
    assert display(np.array([0.0, 0.25, 0.5, 2.0], np.float32), 0.5).tolist() == [0, 128, 255, 255]


# The knee


def test_an_unturned_stack_lies_on_its_axes():
    stack = Stack(8, 32, 32, 2.0, 5.0, 4.0, 2)
    space = make_space(stack, KneePose(1.0, 0.0, 0.0, (0, 0, 0), (1.0, 2.0, 3.0), 0.0), np.random.default_rng(0))
    assert space.u[:, 0, 0] == pytest.approx(stack.depths + 1, abs=1e-4)
    assert np.diff(stack.depths).tolist() == pytest.approx([2.0, 3.0] * 7 + [2.0])
    assert space.a[0, 0] == pytest.approx(2 + 2.0 * (15.5 - np.arange(32)), abs=1e-4), "front first"
    assert space.s[0, :, 0] == pytest.approx(3 + 2.0 * (15.5 - np.arange(32)), abs=1e-4), "head first"


def test_distances_to_bones_are_those_of_the_pack():
    stack, knee = Stack(8, 64, 64, 2.0, 8.0, 6.0, 1), KneePose(1.0, 0.1, 0.5, (0.1, 0.05, -0.1), (2, 1, 5), 1.5)
    space = make_space(stack, knee, np.random.default_rng(1))
    spots = np.stack([space.u, space.a, space.s], axis=-1)[:, 4:-4, 4:-4].reshape(-1, 3)
    for bone in ("femur", "tibia", "patella"):
        exact = distance_at(bone, spots, 0.1, 0.5)
        found = space.distance[bone][:, 4:-4, 4:-4].ravel()
        near = np.abs(exact) < 5
        assert near.sum() > 200
        assert np.abs(found - exact)[near].mean() < 0.3
        assert np.mean((found < 0) == (exact < 0)) > 0.995


def test_a_box_holds_what_it_should():
    stack, knee = Stack(10, 48, 48, 2.6, 8.0, 7.0, 2), KneePose(1.05, 0.1, 0.0, (0.1, -0.08, 0.15), (6, -4, 9), 2.2)
    space = make_space(stack, knee, np.random.default_rng(3))
    low, high = (-10.0, -20.0, -5.0), (12.0, 15.0, 25.0)
    inside = np.ones(space.u.shape, bool)
    for values, a, b in zip((space.u, space.a, space.s), low, high, strict=True):
        inside &= (values > a) & (values < b)
    box = space.box(low, high)
    assert inside.sum() > 100 and inside[box].sum() == inside.sum()
    assert space.u[box].size < 0.6 * space.u.size
    assert Affine.of(stack, knee).box(np.array([900.0, 0, 0]), np.array([910.0, 1, 1]))[0] == slice(20, 20)


@pytest.mark.parametrize("flexion", [0.0, 0.08, 0.16])
def test_ligaments_are_attached_to_their_bones(flexion):
    for name, pair in ATTACHMENTS.items():
        for attachment, end in zip(pair, ends_of(name, flexion), strict=True):
            if any(attachment.towards):
                bone = attachment.end if attachment.end != "plateau" else "tibia"
                assert abs(distance_at(bone, end[None], flexion)[0]) < 1.0, (name, attachment)
    first, last = ends_of("acl", flexion)
    assert 26 < np.linalg.norm(first - last) < 40 and first[0] > last[0], "from the lateral condyle inwards"
    assert last[1] > first[1] and last[2] < first[2], "forward and down"
    steep = np.degrees(np.arctan2(first[2] - last[2], last[1] - first[1]))
    assert 45 < steep < 72
    front, back = ends_of("pcl", flexion)
    assert front[0] < 0 and back[1] < front[1] and np.linalg.norm(front - back) > 28


def test_ligaments_run_outside_of_bones():
    for name in ("pcl", "mcl", "lcl", "patellar tendon"):
        path = band_path(name, 0.08)
        between = (
            path[0] + np.linspace(0.12, 0.88, 12)[:, None] * (path[-1] - path[0]) if len(path) == 2 else path[1:-1]
        )
        for bone in ("femur", "tibia", "patella"):
            assert distance_at(bone, between, 0.08).min() > -2.0, (name, bone)


def test_the_tibia_lies_below_the_femur_and_flush_with_it():
    stack = Stack(20, 96, 96, 1.4, 4.0, 3.5, 1)
    space = make_space(stack, KneePose(1.0, 0.0, 0.0, (0, 0, 0), (0, 0, 0), 0.0), np.random.default_rng(0))
    femur, tibia = space.distance["femur"], space.distance["tibia"]
    assert not ((femur < 0) & (tibia < 0)).any()
    between = (femur + tibia)[(femur > 0) & (tibia > 0)]
    assert 3.0 < between.min() < 6.5, "room for two layers of cartilage"
    backs = [space.a[(d < 0) & (np.abs(space.s) < 30)].min() for d in (femur, tibia)]
    assert abs(backs[0] - backs[1]) < 6
    assert np.allclose(bone_place("femur", 0.3), bone_place("femur", 0.0))


def test_fibres_are_torn_as_the_kind_says():
    rng = np.random.default_rng(0)
    for _ in range(20):
        for tear in ("none", "degenerated"):
            assert draw_bundle(tear, 32, rng).whole.all(), "continuous"
        torn = (draw_bundle("partial", 32, rng).whole == 0).any(axis=1)
        assert 0.45 * FIBRES < torn.sum() < 0.8 * FIBRES
        assert (draw_bundle("complete", 32, rng).whole == 0).any(axis=1).all()
    thick = [draw_bundle("degenerated", 32, rng).radius.mean() / draw_bundle("none", 32, rng).radius.mean()]
    assert np.mean(thick) > 1.2


# A study


def test_a_study_is_what_it_says(studies):
    for tear, study in studies.items():
        assert study.volume.shape == (20, 64, 64) and study.volume.dtype == np.uint8
        assert study.mask.shape == study.volume.shape and study.mask.dtype == bool
        assert study.mask.any() == (tear != "none") and study.torn == (tear in ("partial", "complete"))
        assert study.volume.max() > 150 and 20 < study.volume.mean() < 120
        assert 3 < study.slice_mm < 5 and 1.8 < study.pixel_mm < 2.4


def test_truth_lies_in_the_ligament(studies):
    """All torn parts lie within a millimetre or two of where the same patient's degenerated ligament is."""
    whole = studies["degenerated"].mask
    places = np.argwhere(whole)
    for tear in ("partial", "complete"):
        mask = studies[tear].mask
        assert mask.sum() < whole.sum()
        far = np.abs(np.argwhere(mask)[:, None] - places).max(axis=2).min(axis=1)
        assert far.max() <= 2 and np.mean(far == 0) > 0.4
    low, high = places.min(axis=0), places.max(axis=0)
    assert high[0] - low[0] <= 6, "few slices"
    assert (high[1] - low[1]) * studies["none"].pixel_mm < 50


def test_a_tear_changes_the_picture_where_it_is_and_little_elsewhere():
    calm = QUIET
    whole, torn = (simulate_knee(8, tear=t, sequence=calm, shape=SMALL) for t in ("none", "partial"))
    change = np.abs(whole.volume.astype(int) - torn.volume)
    assert change[torn.mask].mean() > 15 * change[~torn.mask].mean()
    assert torn.volume[torn.mask].mean() > whole.volume[torn.mask].mean() + 15, "brighter"


def test_the_seed_decides():
    a, b = (simulate_knee(5, tear="complete", shape=SMALL) for _ in range(2))
    assert np.array_equal(a.volume, b.volume) and np.array_equal(a.mask, b.mask) and a.laterality == b.laterality
    other = simulate_knee(6, tear="complete", shape=SMALL)
    assert np.abs(a.volume.astype(int) - other.volume).mean() > 5


def test_a_left_knee_is_a_right_one_in_the_mirror():
    right, left = (simulate_knee(5, tear="complete", laterality=side, shape=SMALL) for side in "RL")
    assert np.array_equal(right.volume, left.volume[::-1]) and np.array_equal(right.mask, left.mask[::-1])
    assert not np.array_equal(right.volume, left.volume)


def test_effusion_and_bruise_can_be_set():
    dry, wet = (simulate_knee(5, effusion=mm, shape=SMALL, sequence=QUIET) for mm in (0.0, 9.0))
    assert wet.volume.astype(int).sum() > dry.volume.astype(int).sum() and wet.effusion_mm == 9.0
    calm, hurt = (simulate_knee(5, bruise=b, shape=SMALL, sequence=QUIET) for b in (False, True))
    brighter = hurt.volume.astype(int) - calm.volume
    assert (brighter > 20).sum() > 30 and hurt.bruise and not calm.bruise


def test_the_knee_lies_elsewhere_in_each_stack():
    """Where the ligament is varies by slices and pixels, so that no fixed place tells all."""
    centres = []
    for seed in range(12):
        mask = simulate_knee(seed, tear="degenerated", laterality="R", shape=(20, 48, 48)).mask
        centres.append(np.argwhere(mask).mean(axis=0))
    spread = np.std(centres, axis=0)
    assert spread[0] > 1.0 and spread[1] > 1.0 and spread[2] > 0.7
    middle = np.abs(np.array(centres)[:, 0] - 9.5)
    assert np.mean(middle > 2) > 0.2, "the middle slice misses it often"


def test_size_in_millimetres_does_not_depend_on_the_pixels():
    few, many = (simulate_knee(5, tear="degenerated", shape=shape) for shape in ((20, 48, 48), (20, 96, 96)))
    volumes = [s.mask.sum() * s.pixel_mm**2 * s.slice_mm for s in (few, many)]
    assert volumes[0] == pytest.approx(volumes[1], rel=0.2)


@pytest.mark.parametrize(
    "wrong",
    [{"tear": "torn"}, {"effusion": -1.0}, {"effusion": float("nan")}, {"field": 2.0}, {"laterality": "left"},
     {"shape": (4, 64, 64)}, {"shape": (20, 64)}],
)  # fmt: skip
def test_wrong_arguments_are_said_in_a_line(wrong):
    with pytest.raises(InputError, match="expected") as caught:
        simulate_knee(0, **wrong)
    assert "\n" not in str(caught.value)


def test_soft_edges_hold_half_on_the_surface():
    assert soft(np.array([-2.0, -0.5, 0.0, 0.5, 2.0], np.float32), 1.0).tolist() == [1, 1, 0.5, 0, 0]


# A set


def table_of(plan) -> pd.DataFrame:
    rows = [{**knee.__dict__, "label": knee.label, "wet": knee.effusion > 3} for knee in plan]
    return pd.DataFrame(rows)


@pytest.mark.parametrize(("studies", "seed"), [(300, 0), (300, 1), (120, 2)])
def test_no_sign_says_anything_of_the_label(studies, seed):
    table = table_of(plan_knees(studies, seed=seed))
    for split, share in (("train", 0.6), ("val", 0.15), ("test", 0.25)):
        part = table[table["split"] == split]
        assert abs(len(part) - share * studies) <= 1
        for sign in ("wet", "bruise", "field", "laterality"):
            rates = [(part.loc[part["label"] == y, sign] == part[sign].max()).mean() for y in (0, 1)]
            assert abs(rates[0] - rates[1]) < 0.12 and all(0.4 < r < 0.6 for r in rates), (split, sign, rates)
    assert 0.44 < table["label"].mean() < 0.52
    assert 0.1 < (table["tear"] == "partial").mean() < 0.14
    assert table["group"].is_unique and table["seed"].is_unique


def test_the_shortcut_ties_effusion_in_train_and_val_alone():
    table = table_of(plan_knees(300, shortcut="effusion"))
    learned = table[table["split"] != "test"]
    assert (learned["wet"] == learned["label"].astype(bool)).all()
    test = table[table["split"] == "test"]
    assert 0.4 < (test["wet"] == test["label"].astype(bool)).mean() < 0.6
    for name, agrees in (("tied", 1.0), ("reversed", 0.0)):
        other = table_of(plan_knees(300, shortcut="effusion", test=name))
        test = other[other["split"] == "test"]
        assert (test["wet"] == test["label"].astype(bool)).mean() == agrees
        same = ["name", "split", "seed", "tear", "bruise", "field", "laterality"]
        assert other[same].equals(table[same]), "all else is the same"


def test_all_combinations_of_signs_come_equally_often():
    signs = _balanced(64, 3, np.random.default_rng(0))
    assert np.unique(signs, axis=0, return_counts=True)[1].tolist() == [8] * 8
    for count in range(1, 40):
        on = _balanced(count, 4, np.random.default_rng(count)).sum(axis=0)
        assert np.abs(on - count / 2).max() <= 0.5


def test_a_set_on_disk(tmp_path):
    table = simulate_knees(tmp_path / "knees", studies=20, shape=(8, 32, 32), jobs=1, progress=False)
    assert tuple(table.columns) == COLUMNS and len(table) == 20
    assert table.equals(pd.read_csv(tmp_path / "knees" / "manifest.csv", keep_default_na=False))
    for row in table.itertuples():
        volume = np.load(tmp_path / "knees" / row.file, allow_pickle=False)
        assert volume.shape == (row.slices, row.height, row.width) == (8, 32, 32) and volume.dtype == np.uint8
        split, folder, name = row.file.split("/")
        assert split == row.split and folder == ("Torn" if row.label else "Whole")
        with np.load(tmp_path / "knees" / "masks" / f"{name.removesuffix('.npy')}.npz") as file:
            assert file["mask"].shape == volume.shape and file["mask"].dtype == bool
            assert row.tear != "none" or not file["mask"].any()
    assert not (tmp_path / "knees" / ".unfinished").exists()


def test_a_set_goes_on_where_it_was_interrupted(tmp_path, monkeypatch):
    from fracturelib.simulate import knee_plan

    made, whole = [], knee_plan.simulate_knee

    def failing(seed, **options):
        if len(made) == 7:
            raise KeyboardInterrupt
        made.append(seed)
        return whole(seed, **options)

    options = {"studies": 20, "shape": (8, 32, 32), "jobs": 1, "progress": False}
    monkeypatch.setattr(knee_plan, "simulate_knee", failing)
    with pytest.raises(KeyboardInterrupt):
        simulate_knees(tmp_path / "a", **options)
    assert not (tmp_path / "a" / "manifest.csv").exists()
    monkeypatch.setattr(knee_plan, "simulate_knee", lambda seed, **o: made.append(seed) or whole(seed, **o))
    table = simulate_knees(tmp_path / "a", **options)
    assert len(made) == len(set(made)) == 20, "nothing is made twice"
    simulate_knees(tmp_path / "a", **options)
    assert len(made) == 20, "a finished set is left as it is"
    again = simulate_knees(tmp_path / "b", **{**options, "jobs": 2})
    assert again.equals(table)
    for file in table["file"]:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), (
            "on any number of processes"
        )


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="holds another data set; expected"):
        simulate_knees(tmp_path, studies=20, shape=(8, 32, 32), progress=False)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]
    other = tmp_path / "other"
    (other / ".unfinished").mkdir(parents=True)
    (other / ".unfinished" / "simulation.json").write_text(json.dumps({"images": 4}))
    with pytest.raises(InputError, match="holds another data set; expected"):
        simulate_knees(other, studies=20, shape=(8, 32, 32), progress=False)


@pytest.mark.parametrize(
    "wrong",
    [{"studies": 5}, {"shortcut": "bruise"}, {"test": "reversed"}, {"shortcut": "effusion", "test": "random"},
     {"jobs": 0}],
)  # fmt: skip
def test_a_wrong_set_is_said_in_a_line(wrong, tmp_path):
    with pytest.raises(InputError, match="expected"):
        simulate_knees(tmp_path / "knees", **wrong)
    assert not (tmp_path / "knees").exists()
