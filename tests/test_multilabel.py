"""Several labels: an unknown one counts nothing and gives no gradient, exactly, and few images claim nothing."""

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F

from fracturelib._io.files import InputError
from fracturelib.metrics.bootstrap import group_bootstrap
from fracturelib.metrics.classification import roc_auc
from fracturelib.training.multilabel import COLUMNS, SeveralHeads, Tasks, answers, masked_cross_entropy

TASKS = Tasks({"fracture": ("0", "1"), "region": ("hand", "leg", "hip")})
BROKEN = TASKS[:1]


def drawn(n: int = 12, seed: int = 0) -> tuple[list[torch.Tensor], torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = [torch.randn(n, c, generator=generator).requires_grad_() for c in (2, 3)]
    targets = torch.stack([torch.randint(0, c, (n,), generator=generator) for c in (2, 3)], 1)
    return logits, targets


def images(n: int = 120, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features of which the first tells the fracture and the next three the region."""
    rng = np.random.default_rng(seed)
    targets = np.stack([rng.integers(0, 2, n), rng.integers(0, 3, n)], 1)
    features = rng.normal(size=(n, 8)).astype(np.float32)
    features[:, 0] += 3 * targets[:, 0]
    features[np.arange(n), 1 + targets[:, 1]] += 3
    return features, targets


def test_with_all_labels_known_it_is_the_sum_of_cross_entropies() -> None:
    logits, targets = drawn()
    expected = sum(F.cross_entropy(x, y) for x, y in zip(logits, targets.T, strict=True))
    assert torch.allclose(masked_cross_entropy(logits, targets), expected)


def test_an_unknown_label_counts_nothing_and_gets_no_gradient() -> None:
    logits, targets = drawn()
    targets[3:9, 1] = -1
    loss = masked_cross_entropy(logits, targets)
    known = targets[:, 1] >= 0
    assert torch.allclose(
        loss, F.cross_entropy(logits[0], targets[:, 0]) + F.cross_entropy(logits[1][known], targets[known, 1])
    )
    loss.backward()
    assert torch.equal(logits[1].grad[3:9], torch.zeros(6, 3))  # exactly
    assert (logits[1].grad[known] != 0).all() and (logits[0].grad != 0).all()
    with torch.no_grad():  # whatever the network says where nobody knows, the loss does not move by one bit
        wild = logits[1].clone()
        wild[3:9] = 1e6
        assert torch.equal(masked_cross_entropy([logits[0], wild], targets), loss)


def test_a_task_of_which_nothing_is_known_gives_zero_and_not_nan() -> None:
    logits, targets = drawn()
    targets[:, 1] = -1
    loss = masked_cross_entropy(logits, targets)
    assert torch.allclose(loss, F.cross_entropy(logits[0], targets[:, 0]))
    loss.backward()
    assert torch.equal(logits[1].grad, torch.zeros_like(logits[1]))
    assert masked_cross_entropy(logits, torch.full_like(targets, -1)) == 0


def test_an_image_of_which_nothing_is_known_moves_no_weight() -> None:
    features, targets = images()
    targets[:10] = -1
    x, y = torch.from_numpy(features), torch.from_numpy(targets)
    gradients = []
    for chosen in (slice(None), slice(10, None)):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = SeveralHeads(8, TASKS).eval()
        masked_cross_entropy(model(x[chosen]), y[chosen]).backward()
        gradients.append([p.grad for p in model.parameters()])
    assert all(torch.allclose(a, b, atol=1e-7) for a, b in zip(*gradients, strict=True))


def test_the_loss_refuses_a_column_too_few() -> None:
    logits, targets = drawn()
    with pytest.raises(InputError, match=r"shape \(12, 1\); expected \(n, 2\)"):
        masked_cross_entropy(logits, targets[:, :1])


def test_labels_become_numbers_and_gaps_become_unknown() -> None:
    frame = pd.DataFrame({"fracture": [1.0, 0.0, np.nan, 1.0], "region": ["hip", None, " hand", ""]})
    found = TASKS.encode(frame)
    assert found.dtype == np.int64 and found.tolist() == [[1, 2], [0, -1], [-1, 0], [1, -1]]
    assert answers(pd.DataFrame({"cast": [True, False]}), "cast").tolist() == ["1", "0"]
    assert TASKS.encode(frame.iloc[:0]).shape == (0, 2)
    nothing = pd.DataFrame({"fracture": [None, None], "region": [np.nan, np.nan]})
    assert (TASKS.encode(nothing) == -1).all()


def test_a_value_that_is_no_class_is_an_error_or_unknown() -> None:
    frame = pd.DataFrame({"fracture": [1, 0], "region": ["hip", "toe"]})
    with pytest.raises(InputError, match="column 'region' has the value 'toe'; expected hand, leg, hip"):
        TASKS.encode(frame)
    assert TASKS.encode(frame, others="unknown")[:, 1].tolist() == [2, -1]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Tasks({"view": ("frontal",)}), "task 'view' has the classes"),
        (lambda: Tasks({"view": ("a", "a")}), "two or more that differ"),
        (lambda: Tasks({"view": "ab"}), "two or more"),
        (lambda: Tasks({}), "classes is empty; expected at least one task"),
        (lambda: BROKEN.encode(pd.DataFrame({"a": [1]})), "no column 'fracture'; it has a"),
        (lambda: TASKS.encode(pd.DataFrame(), others="drop"), "others is 'drop'"),
        (lambda: TASKS.fit(np.zeros((3, 4), np.float32), np.zeros((2, 2), np.int64)), "expected \\(3, 2\\)"),
        (lambda: BROKEN.fit(np.zeros((3, 4), np.float32), np.full((3, 1), -1)), "0 known"),
        (lambda: BROKEN.fit(np.zeros((2, 4), np.float32), [[0], [7]]), "'fracture' has 7; expected 0 to 1"),
        (lambda: BROKEN.fit(np.full((2, 4), np.nan), [[0], [1]]), "values that are not finite"),
        (lambda: BROKEN.encode(pd.DataFrame([[0, 1]], columns=["fracture"] * 2)), "more than one column 'fracture'"),
    ],
)
def test_mistakes_are_named_in_one_line(make, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        make()
    assert "\n" not in str(error.value)


def test_tasks_are_walked_through_by_name_and_taken_by_slice() -> None:
    tasks = Tasks({"fracture": ("0", "1"), "view": ("frontal", "lateral")})
    assert list(tasks) == ["fracture", "view"] and list(tasks[1:]) == ["view"]
    with pytest.raises(InputError, match=r"tasks\[0\]: expected a slice"):
        tasks[0]  # type: ignore[index]


def test_tables_are_made_of_what_fits_only() -> None:
    tasks = Tasks({"fracture": ("0", "1"), "view": ("frontal", "lateral")})
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 2, (60, 2))
    good = {name: rng.random((60, 2)) for name in tasks}
    spoilt = {**good, "view": np.where(np.arange(60)[:, None] == 3, np.nan, good["view"])}
    for message, call in {
        "probabilities has 'fractur'": lambda: tasks.judge({"fractur": good["fracture"]}, targets),
        r"have shape \(120, 2\); expected \(60, 2\) or more columns": lambda: tasks.judge(
            {"view": np.tile(good["view"], (2, 1))}, targets
        ),
        r"targets has shape \(60, 1\); expected \(n, 2\)": lambda: tasks.judge(good, targets[:, :1]),
        "'view' have values that are not finite": lambda: tasks.compare(good, spoilt, targets, n=5),
        "probabilities lack view": lambda: tasks.compare(good, {"fracture": good["fracture"]}, targets, n=5),
        "n is 0": lambda: tasks.compare(good, good, targets, n=0),
        "'view' has 2; expected 0 to 1, or -1": lambda: tasks.judge(good, targets + np.array([0, 1])),
        "targets are of type float64": lambda: tasks.judge(good, targets + 0.5),
        r"score has shape \(2,\); expected \(60,\)": lambda: tasks.leaning([0.1, 0.2], targets),
        "score has values that are no numbers": lambda: tasks.within(["high"] * 60, targets),
        r"score has shape \(3,\); expected \(60,\)": lambda: tasks.within([0.1, 0.2, 0.3], targets),
    }.items():
        with pytest.raises(InputError, match=message):
            call()


def test_tasks_are_what_the_images_can_teach() -> None:
    frame = pd.DataFrame(
        {"fracture": [0, 1] * 30, "region": ["leg"] * 29 + ["hip"] * 29 + ["toe"] * 2, "hardware": [0] * 60}
    )
    found = Tasks.found(frame, ("region", "hardware", "view"))
    assert found == Tasks({"fracture": ("0", "1"), "region": ("hip", "leg")})
    assert found.names == ("fracture", "region") and len(found) == 2 and found[:1] == BROKEN


def test_training_finds_every_label_and_repeats_to_the_bit() -> None:
    features, targets = images()
    before = torch.random.get_rng_state()
    first, again = (TASKS.fit(features, targets, epochs=30, seed=3) for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(first.state_dict().values(), again.state_dict().values(), strict=True))
    other = TASKS.fit(features, targets, epochs=1, seed=4)
    assert not torch.equal(other.heads[0].weight, first.heads[0].weight)
    new, truth = images(seed=1)
    found = first.probabilities(new)
    assert not first.training and found["region"].shape == (120, 3)
    assert np.allclose(found["region"].sum(1), 1) and np.isfinite(found["region"]).all()
    assert TASKS.judge(found, truth, n=20)["auc"].min() > 0.9


@pytest.mark.parametrize(
    ("setting", "value"),
    [("epochs", 0), ("epochs", 2.5), ("batch", 0), ("batch", "64"), ("width", -1), ("learning_rate", float("nan")),
     ("weight_decay", -0.1), ("seed", None)],
)  # fmt: skip
def test_a_setting_out_of_range_is_named(setting: str, value: object) -> None:
    with pytest.raises(InputError, match=f"{setting} is {value}; expected a (whole )?number from"):
        TASKS.fit(*images(), **{setting: value})


def test_lists_are_as_good_as_arrays() -> None:
    tasks, score = Tasks({"fracture": ("0", "1"), "view": ("a", "b")}), [0.1, 0.7, 0.4, 0.9]
    targets = [[0, 0], [0, 1], [1, 0], [1, 1]]
    for table in (tasks.leaning, tasks.within):
        pd.testing.assert_frame_equal(table(score, targets, n=5), table(np.array(score), np.array(targets), n=5))


def test_a_constant_feature_does_no_harm() -> None:
    features, targets = images()
    features[:, 5] = 7
    model = TASKS.fit(features, targets, epochs=2)
    assert np.isfinite(model.probabilities(features)["fracture"]).all()


def test_each_label_is_judged_where_it_is_known() -> None:
    features, targets = images()
    targets[:30, 1] = -1
    scores = TASKS.fit(features, targets, epochs=3).probabilities(features)
    patients = np.arange(120) // 2
    table = TASKS.judge(scores, targets, patients, n=50).set_index(["task", "class"])
    assert list(table.index) == [("fracture", "1"), *(("region", name) for name in TASKS.classes["region"])]
    assert table.loc[("fracture", "1"), "images"] == 120 and table.loc[("region", "leg"), "images"] == 90
    leg = targets[30:, 1] == 1
    expected = group_bootstrap(roc_auc, leg.astype(int), scores["region"][30:, 1], patients[30:], n=50)
    assert table.loc[("region", "leg"), ["auc", "low", "high"]].tolist() == [
        expected.value,
        expected.low,
        expected.high,
    ]


def test_nothing_is_claimed_of_few_groups() -> None:
    scores = {"fracture": np.tile([0.4, 0.6], (60, 1))}
    targets = np.zeros((60, 1), np.int64)
    targets[:30] = 1  # thirty images, but of three patients
    table = BROKEN.judge(scores, targets, np.r_[np.arange(30) // 10, np.arange(3, 33)], n=20)
    assert table["auc"].isna().all() and table["note"].tolist() == ["3 groups on one side: nothing is claimed"]
    assert BROKEN.judge(scores, np.full((60, 1), -1), n=20)["images"].tolist() == [0]
    assert BROKEN.judge(scores, targets, n=20)["auc"].tolist() == [0.5]


def test_the_table_to_read_has_a_dash_where_nothing_is_claimed() -> None:
    rows = [("view", "lateral", 60, 30, 0.5, 0.25, 0.75, ""), ("view", "both", 60, 3, *[np.nan] * 3, "3 groups")]
    judged = pd.DataFrame(rows, ["view: lateral", "view: both"], COLUMNS)
    table = Tasks.summary(judged)
    assert list(table.index) == list(judged.index) and list(table.columns) == ["images with it", "AUC", "remark"]
    assert table.values.tolist() == [["30 of 60", "0.50 (0.25 to 0.75)", ""], ["3 of 60", "-", "3 groups"]]


def test_networks_are_compared_task_by_task() -> None:
    features, targets = images()
    scores = TASKS.fit(features, targets, epochs=20).probabilities(features)
    coin = {name: np.full_like(p, 0.5) for name, p in scores.items()}
    gain = TASKS.compare(scores, coin, targets, n=30)
    judged = TASKS.judge(scores, targets, n=1).groupby("task")["auc"].mean()
    assert list(gain.index) == ["fracture: 1 answer", "region: 3 answers"]
    assert np.allclose(gain["auc"], judged[gain["task"]] - 0.5) and (gain["low"] > 0).all()
    assert TASKS.compare(scores, coin, targets, np.arange(120) // 30, n=30)["auc"].isna().all()
    alone = TASKS.compare(scores, coin, targets, np.zeros(120, int), least=0, n=30)
    assert alone[["low", "high"]].isna().all(axis=None)


def test_a_score_is_asked_what_it_leans_on_and_what_it_is_worth_within_a_label() -> None:
    targets = np.stack([np.arange(120) % 2, np.arange(120) // 2 % 3], 1)
    score = np.where(targets[:, 1] == 0, 0.9, 0.1)  # knows the hand, and nothing of fractures
    leans, within = TASKS.leaning(score, targets, n=20), TASKS.within(score, targets, n=20)
    assert list(leans.index) == ["region: hand", "region: leg", "region: hip"] == list(within.index)
    assert leans["auc"].tolist() == [1, 0.25, 0.25] and leans["images"].tolist() == [60] * 3
    assert within["auc"].tolist() == [0.5] * 3 and within["images"].tolist() == [40] * 3
    assert BROKEN.leaning(score, targets[:, :1]).empty and BROKEN.within(score, targets[:, :1]).empty
