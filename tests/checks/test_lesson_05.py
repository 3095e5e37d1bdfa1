"""The exercises of lesson 05, on a small network that nobody trained."""

import copy

import numpy as np
import pytest
import torch

from fracturelib.checks import check
from fracturelib.explain import GradCAM
from fracturelib.models.classifier import Classifier
from fracturelib.models.registry import build_model
from tests.checks.conftest import Case, judged

SIZE, SIDE, HEAD = 64, 16, 40


def small_classifier() -> Classifier:
    """Logits of some size, so that covering a part changes them by more than dust."""
    model = build_model("small_cnn", seed=1, width=4).eval()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight *= 2.5
        model.head.weight *= HEAD
        model.head.bias[:] = torch.tensor([0.3, -0.4])
    return Classifier(model, {"name": "small_cnn", "width": 4}, SIZE, 0.5, 0.25, temperature=6.0)


CLASSIFIER = small_classifier()
RNG = np.random.default_rng(0)
IMAGE = np.clip(RNG.normal(120, 20, (SIZE, SIZE)), 0, 255).astype(np.uint8)
IMAGE[20:34, 36:52] = RNG.integers(0, 255, (14, 16))
X = CLASSIFIER.tensor(IMAGE[None])
LAYERS = {"stage3": CLASSIFIER.model.stage3, "stage4": CLASSIFIER.model.stage4}
with GradCAM(CLASSIFIER.model, LAYERS) as CAM:
    SIGNED, POSITIVE = CAM(X, relu=False), CAM(X)
    OTHER = CAM(X, target="not fractured", relu=False)["stage4"]
OURS = SIGNED["stage4"]
LOGIT, BIAS = float(CLASSIFIER.logits(IMAGE[None])[0, 1]), float(CLASSIFIER.model.head.bias[1].detach())
TARGET = LOGIT - BIAS


# 5.1


def by_hand(activation, gradient):
    weights = gradient.mean(axis=(1, 2))
    return np.maximum((weights[:, None, None] * activation).sum(axis=0), 0)


def in_torch(activation, gradient):
    a, g = torch.tensor(activation), torch.tensor(gradient)
    return (g.mean(dim=(1, 2), keepdim=True) * a).sum(dim=0).relu().numpy()


def weighed(weigh):
    return lambda a, g: np.maximum((weigh(g)[:, None, None] * a).sum(axis=0), 0)


def unrectified(a, g):
    return (g.mean(axis=(1, 2))[:, None, None] * a).sum(axis=0)


def each_place(a, g):
    return np.maximum((g * a).sum(axis=0), 0)


def early(a, g):
    return (np.maximum(g.mean(axis=(1, 2)), 0)[:, None, None] * a).sum(axis=0)


def channel_mean(a, g):
    return np.maximum((g.mean(axis=(1, 2))[:, None, None] * a).mean(axis=0), 0)


def grows(a, g):
    a *= 2
    return by_hand(a, g)


# 5.3


def covered(row, column, side=SIDE):
    top, left = (int(np.clip(v - side // 2, 0, SIZE - side)) for v in (row, column))
    changed = IMAGE.copy()
    changed[top : top + side, left : left + side] = IMAGE.mean()
    return changed


def falls(places, what=lambda pictures: CLASSIFIER.logits(pictures)[:, 1]):
    return what(IMAGE[None])[0] - what(np.stack([covered(y, x) for y, x in places]))


# A map with its peak where covering costs most, wherever exactly the square lies.
SPOTS = [(y, x) for y in range(12, 56, 6) for x in range(12, 56, 6)]
LEAST = [falls([(y + dy, x + dx) for dy in (-2, 0, 2) for dx in (-2, 0, 2)]).min() for y, x in SPOTS]
PEAK = SPOTS[int(np.argmax(LEAST))]
HEAT = np.zeros((SIZE, SIZE), np.float32)
HEAT[PEAK] = 1

PLACES = np.random.default_rng(1).integers(SIDE // 2, SIZE - SIDE // 2, (20, 2))
ELSEWHERE = falls(PLACES)
AT_PEAK = float(falls([PEAK])[0])
SCORE_FALL = float(falls([PEAK], CLASSIFIER.scores)[0])
ON_GRID = float(falls([(PEAK[0] / 16, PEAK[1] / 16)])[0])

CASES = [
    Case(
        "5.1",
        right=[(by_hand,), (in_torch,)],
        wrong=[
            ((weighed(lambda g: g.sum(axis=(1, 2))),), "too large by the number of places"),
            ((weighed(lambda g: g.max(axis=(1, 2))),), "one place decides"),
            ((weighed(lambda g: np.abs(g).mean(axis=(1, 2))),), "absolute value"),
            ((unrectified,), "negative places"),
            ((each_place,), "HiResCAM"),
            ((early,), "silenced"),
            ((channel_mean,), "add up the channels"),
            ((grows,), "changes what it is given"),
            ((lambda a, g: a.sum(axis=0),), "something else"),
            ((np.ones((3, 3)),), "a function is expected"),
        ],
    ),
    Case(
        "5.2",
        right=[(OURS - OTHER,), ((OURS - OTHER)[0],), ((OURS - OTHER).tolist(),)],
        wrong=[
            ((np.maximum(OURS, 0) - np.maximum(OTHER, 0),), "thrown away"),
            ((np.maximum(OURS - OTHER, 0),), "was rectified"),
            ((OTHER - OURS,), "turned round"),
            ((OURS + OTHER,), "that is the sum"),
            ((OURS,), "only one of the two"),
            (((OURS - OTHER) / 2,), "half of it"),
            ((np.abs(OURS - OTHER),), "sign is lost"),
            ((OURS[:, :2],), "shape"),
        ],
        given={"fractured": OURS, "not_fractured": OTHER},
    ),
    Case(
        "5.3",
        right=[(AT_PEAK, ELSEWHERE), (round(AT_PEAK, 2), list(ELSEWHERE)), (np.array([AT_PEAK]), ELSEWHERE[:, None])],
        wrong=[
            ((AT_PEAK, ELSEWHERE[0]), "compared with what"),
            ((-AT_PEAK, ELSEWHERE), "sign is turned round"),
            ((SCORE_FALL, ELSEWHERE), "fall of the score"),
            ((ON_GRID, ELSEWHERE), "number on the grid"),
            ((AT_PEAK, np.full(20, ELSEWHERE[0])), "a new place drawn"),
            ((AT_PEAK, ELSEWHERE * 50), "one square at a time"),
            ((AT_PEAK, ELSEWHERE.mean() + ELSEWHERE / 1000), "hardly vary"),
            ((AT_PEAK + 9 * np.ptp(ELSEWHERE), ELSEWHERE), "with what grey"),
        ],
        given={"classifier": CLASSIFIER, "image": IMAGE, "heat": HEAT, "side": SIDE},
    ),
    Case(
        "5.4",
        right=[(float(SIGNED["stage3"].sum() - TARGET),), (float(TARGET - SIGNED["stage3"].sum()),)],
        wrong=[
            ((float(POSITIVE["stage3"].sum() - TARGET),), "rectified"),
            ((float(OURS.sum() - TARGET),), "last layer"),
            ((float(SIGNED["stage3"].sum() - LOGIT),), "bias is still"),
            ((float(SIGNED["stage3"].sum()),), "map alone"),
            ((float(SIGNED["stage3"].mean() - TARGET),), "mean"),
            ((1234.5,), "besides its bias"),
        ],
        given={"classifier": CLASSIFIER, "image": IMAGE},
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.number)
def test_it_answers(case: Case) -> None:
    judged(case)


def test_the_wrong_answers_are_not_the_right_one() -> None:
    assert len({round(v, 3) for v in (AT_PEAK, SCORE_FALL, ON_GRID)}) == 3
    assert abs(SIGNED["stage3"].sum() - TARGET) > 0.05


def test_no_reply_says_the_number() -> None:
    for answer in (0.0, 1e6):
        words = check("5.4", answer, classifier=CLASSIFIER, image=IMAGE).words
        assert f"{abs(SIGNED['stage3'].sum() - TARGET):.2f}" not in words


def test_a_small_bias_is_missed_all_the_same() -> None:
    model = copy.deepcopy(CLASSIFIER.model)
    with torch.no_grad():
        model.head.bias[:] = 0.004
    near = Classifier(model, {"name": "small_cnn", "width": 4}, SIZE, 0.5, 0.25, temperature=6.0)
    logit = float(near.logits(IMAGE[None])[0, 1])
    with GradCAM(model, model.stage3) as cam:
        total = float(cam(X, relu=False).sum())
    assert "bias is still" in check("5.4", total - logit, classifier=near, image=IMAGE).words
    assert check("5.4", total - logit + 0.004, classifier=near, image=IMAGE).state == "right"
