"""The exercises of lesson 02."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from fracturelib.checks import check
from fracturelib.metrics import roc_auc
from tests.checks.conftest import Case, judged

TRUE = -(math.log(0.9) + math.log(0.6) + math.log(0.8)) / 3
MEAN, STD = 0.5, 0.5


def marked(labels, noise=0.0):
    """Squares whose first pixel tells the label, but for some noise."""
    rng = np.random.default_rng(0)
    images = np.zeros((len(labels), 32, 32), np.uint8)
    images[:, 0, 0] = np.clip(np.where(labels, 200, 50) + rng.normal(0, noise, len(labels)), 0, 255)
    return images


class Reads(nn.Module):
    """A network that reads the first pixel, for or against a fracture, as sure as it is told to be."""

    def __init__(self, sure):
        super().__init__()
        self.sure = sure

    def forward(self, x):
        seen = self.sure * x[:, 0, 0, 0]
        return torch.stack([-seen, seen], 1)


FEW_LABELS = np.array([0, 1] * 8)
FEW = (torch.from_numpy(marked(FEW_LABELS)), torch.from_numpy(FEW_LABELS))
LABELS = np.array([0, 0, 1] * 20)
VAL = SimpleNamespace(images=marked(LABELS, noise=120), labels=LABELS)
NONSENSE, TRUTH, UNSURE = Reads(-9.0), Reads(9.0), Reads(-0.1)
AUC = roc_auc(LABELS, -VAL.images[:, 0, 0].astype(float))
SURE = VAL.images[:, 0, 0] < 127.5
ACCURACY = float(((LABELS == 1) == SURE).mean())

Y = np.array([0, 0, 0, 0, 0, 1, 1, 1, 1])
SCORES = np.array([0.0123, 0.025, 0.2, 0.3, 0.6, 0.04142, 0.35, 0.7, 0.93])

CASES = [
    Case(
        "2.1",
        right=[(TRUE,), (0.28,), (torch.tensor(TRUE),), (np.float32(TRUE),)],
        wrong=[
            ((TRUE / math.log(10),), "not `np.log10`"),
            ((TRUE / math.log(2),), "not `np.log2`"),
            ((-(math.log(0.9) + math.log(0.6) + math.log(0.2)) / 3,), "1 - P(Fractured)"),
            ((-TRUE,), "but for its sign"),
            ((3 * TRUE,), "that is the sum"),
            ((-math.log(2.3 / 3),), "the logarithm of each image first"),
            ((0.7 / 3,), "the mean distance from the truth"),
            ((-(math.log(0.9) + math.log(0.6)) / 3,), "counts, too"),
            ((1.3,), "which probability did its true label get"),
        ],
    ),
    Case(
        "2.2",
        right=[("labels", "order", "zero_grad"), ("Labels", " order", "ZERO_GRAD")],
        wrong=[
            (("order", "order", "zero_grad"), "the loss of A trembles about that of a coin and never falls; but if"),
            (("zero_grad", "order", "labels"), "the loss of A trembles about that of a coin and never falls; but with"),
            (("labels", "labels", "zero_grad"), "the loss of B does not move at all, not even by chance; but with new"),
            (("labels", "zero_grad", "order"), "the loss of B does not move at all, not even by chance; but without"),
            (("labels", "order", "labels"), "the loss of C does fall at first; but with new labels"),
            (("labels", "order", "order"), "the loss of C does fall at first; but if the step"),
            (("shuffled", "order", "zero_grad"), "choose one of"),
        ],
    ),
    Case(
        "2.3",
        right=[(NONSENSE, AUC), (NONSENSE, round(AUC, 2))],
        wrong=[
            ((TRUTH, 1 - AUC), "the *true* labels"),
            ((UNSURE, AUC), "Begin with a new network"),
            ((NONSENSE, 1 - AUC), "column 1 is 'fractured'"),
            ((NONSENSE, ACCURACY), "that is an accuracy"),
            ((NONSENSE, 0.97), "after the last step"),
            ((AUC, AUC), "hand in the network itself"),
            ((NONSENSE, 45), "write 50 % as 0.5"),
        ],
        given={"few": FEW, "val": VAL, "mean": MEAN, "std": STD},
    ),
    Case(
        "2.4",
        right=[(0.04142,), (0.041,), (np.float64(0.0414),)],
        wrong=[
            ((0.0123,), "that calls everybody fractured"),
            ((0.042,), "by rounding"),
            ((0.93,), "the surest fracture"),
            ((0.5,), "it misses 2 of 4 fractures"),
            ((0.015,), "a higher threshold would find them all"),
            ((4.1,), "write 50 % as 0.5"),
        ],
        given={"y": Y, "scores": SCORES},
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.number)
def test_it_answers(case: Case) -> None:
    judged(case)


def test_the_wrong_answers_differ_from_the_right_ones() -> None:
    assert abs(AUC - 0.5) > 0.05 and abs(ACCURACY - AUC) > 0.03 and abs(ACCURACY - 1 + AUC) > 0.03


def test_a_threshold_that_all_images_reach_is_right_where_the_least_score_is_a_fracture() -> None:
    assert check("2.4", 0.1, y=np.array([1, 0, 1]), scores=np.array([0.1, 0.3, 0.8])).state == "right"
