"""Groups (patients), and splits that keep each in one part."""

import warnings
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from fracturelib._io.files import InputError
from fracturelib.data.labels import SPLITS

FOLDS, TEST_FOLDS = 20, 3  # 15 % test, 15 % val, the rest train


def split_by_group(
    strata: Sequence[str] | pd.Series, groups: Sequence[str] | pd.Series, *, seed: int
) -> NDArray[np.str_]:
    """train, val or test for each image: 70, 15 and 15 %, whole groups, each stratum shared out alike: (n,) str.

    Each split holds both classes (a stratum's first word) wherever that is possible; where only two splits can, there
    is no test.

    Raises
    ------
    InputError
        If not even train and val can hold both classes.
    """
    strata, groups = pd.Series(strata).reset_index(drop=True), pd.Series(groups).reset_index(drop=True)
    classes = strata.astype(str).str.split(" ").str[0]
    result = _shared_out(strata, classes, groups, seed)
    if result is None or not all(_has_all(classes, result, split) for split in SPLITS):
        result = _by_hand(classes, groups, seed)
    return result


def _has_all(classes: pd.Series, split: NDArray[np.str_], name: str) -> bool:
    return set(classes[split == name]) == set(classes)


def _shared_out(strata: pd.Series, classes: pd.Series, groups: pd.Series, seed: int) -> NDArray[np.str_] | None:
    """By folds; None where there are too few groups or images for any."""
    folds = min(FOLDS, groups.nunique(), int(classes.value_counts().max()))
    if folds < 3:
        return None
    rare = strata.map(strata.value_counts()) < folds
    strata = strata.where(~rare, classes)
    result = np.full(len(groups), "train", dtype="<U5")
    share = max(1, round(TEST_FOLDS * folds / FOLDS))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a class rarer than the folds is shared out as well as it can be
        splitter = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=seed)
        try:
            for i, (_, held) in enumerate(splitter.split(np.zeros(len(groups)), strata, groups)):
                if i < 2 * share:
                    result[held] = "test" if i < share else "val"
        except ValueError:  # every stratum is rarer than the folds
            return None
    return result


def _by_hand(classes: pd.Series, groups: pd.Series, seed: int) -> NDArray[np.str_]:
    """Few groups: first what each split needs to hold all classes, from the smallest groups; then the rest."""
    table = pd.crosstab(groups, classes)
    order = np.random.default_rng(seed).permutation(len(table))
    table = table.iloc[order].assign(images=lambda t: t.sum(axis=1)).sort_values("images", kind="stable")
    mixed = list(table.index[(table.drop(columns="images") > 0).all(axis=1)])
    pure = [list(table.index[(table[c] > 0) & ~table.index.isin(mixed)]) for c in sorted(set(classes))]
    kernels = [[one] for one in mixed] + [list(pair) for pair in zip(*pure, strict=False)] if len(pure) > 1 else [
        [one] for one in mixed
    ]  # fmt: skip
    if len(kernels) < 2:
        pairs = zip(sorted(set(classes)), pure, strict=True)
        counts = " and ".join(f"{len(own) + len(mixed)} with label {name}" for name, own in pairs)
        raise InputError(f"patients: {counts}; expected at least 2 of each, so that train and val hold both classes")
    held = ("val", "test")[: len(kernels) - 1]
    chosen = dict(zip(held, kernels, strict=False))
    result = {group: split for split, kernel in chosen.items() for group in kernel}
    sizes = {split: sum(int(table.at[g, "images"]) for g in kernel) for split, kernel in chosen.items()}
    kept = set(kernels[-1])  # train holds all classes, too
    for group in [g for g in table.index if g not in result and g not in kept]:
        split = min(held, key=lambda s: sizes[s])
        if sizes[split] + int(table.at[group, "images"]) <= round(len(groups) * TEST_FOLDS / FOLDS):
            result[group] = split
            sizes[split] += int(table.at[group, "images"])
    return np.array([result.get(group, "train") for group in groups], dtype="<U5")


def joined(groups: Sequence[str], other: Sequence[str]) -> list[str]:
    """Groups that share a value of `other`, directly or through others, become one: the first of its names."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    g, g_names = pd.factorize(np.asarray(groups, dtype=object))
    o, _ = pd.factorize(np.asarray(other, dtype=object))
    n = len(g_names)
    edges = coo_array((np.ones(len(g)), (g, o + n)), shape=(n + o.max(initial=-1) + 1,) * 2)
    _, component = connected_components(edges, directed=False)
    first: dict[int, str] = {}
    for name, c in sorted(zip(map(str, g_names), component[:n], strict=True)):
        first.setdefault(int(c), name)
    return [first[int(component[i])] for i in g]


def in_one_split(images: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Groups of the source that are in several of its splits, brought together in train, then val; and what was done.

    Only test images that nothing else is like can show what a network is worth, so shared ones leave test. A split that
    would lose a class by it keeps its images.
    """
    spread = images.groupby("group")["split"].nunique()
    shared = spread.index[spread > 1]
    if not len(shared):
        return images, []
    said = f"{len(shared)} groups are in more than one split of the source (such as {shared[0]})"
    moved = images["split"].to_numpy(dtype=object).copy()
    for _, part in images[images["group"].isin(shared)].groupby("group"):
        target = "train" if (part["split"] == "train").any() else "val"
        moved[images.index.get_indexer(part.index)] = target
    before = set(zip(images["split"], images["label"], strict=True))
    if set(zip(moved, images["label"], strict=True)) != before:
        return images, [f"{said}: a score on them proves nothing, and moving them would empty a split"]
    count = int((moved != images["split"].to_numpy()).sum())
    return images.assign(split=moved), [
        f"{said}; {count} of their images were moved to train or val, away from the rest"
    ]
