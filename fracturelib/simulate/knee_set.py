"""A set of simulated knees on disk: planned by patient, made study by study on all cores, and joined at the end."""

import json
import os
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from fracturelib._io.files import InputError, atomic_path
from fracturelib._io.parts import sweep
from fracturelib.simulate.knee_plan import KNEE_SPLITS, PlannedKnee, plan_knees
from fracturelib.simulate.knee_study import SHAPE
from fracturelib.simulate.parts import PartedSet

KNEE_CLASSES = ("Whole", "Torn")
COLUMNS = (
    "file", "split", "label", "group", "slices", "height", "width", "slice_mm", "pixel_mm", "tear", "effusion_mm",
    "bruise", "field", "laterality", "contrast",
)  # fmt: skip


def simulate_knees(
    folder: str | Path,
    *,
    studies: int = 300,
    seed: int = 0,
    shortcut: str | None = None,
    test: str = "independent",
    shape: tuple[int, int, int] = SHAPE,
    jobs: int | None = None,
    progress: bool | None = None,
) -> pd.DataFrame:
    """Make a set of studies: `{train,val,test}/{Torn,Whole}/NAME.npy`, `masks/NAME.npz` and manifest.csv.

    A study is uint8 (slices, height, width); its mask, bool of the same shape, is under the key `mask`.

    Parameters
    ----------
    folder : str or Path
        The folder to make. What an interrupted call left there is kept, and the rest made.
    studies : int
        How many, at least 20, each of another patient: 60 % in train, 15 % in val, 25 % in test.
    seed : int
        Decides everything: the same seed gives the same studies, on any number of processes.
    shortcut : str, optional
        "effusion": in train and val just the torn knees have one. Without it, effusion says nothing of the tear.
    test : str
        With a shortcut, how test is: "independent" (effusion says nothing), "tied" as train is, or "reversed".
    shape : tuple of int
        Slices, height and width of each study.
    jobs : int, optional
        Processes; all cores if not given.
    progress : bool, optional
        Whether to show a bar; on a terminal only if not given.

    Returns
    -------
    DataFrame
        The manifest, one row a study, sorted by file.

    Raises
    ------
    InputError
        If an argument is out of range, or `folder` holds something else.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     table = simulate_knees(folder + "/knees", studies=20, shape=(8, 32, 32), jobs=1, progress=False)
    >>> table["split"].value_counts().to_dict()
    {'train': 12, 'test': 5, 'val': 3}
    """
    plan = plan_knees(studies, seed=seed, shortcut=shortcut, test=test)
    if jobs is not None and jobs < 1:
        raise InputError(f"jobs is {jobs}; expected at least 1")
    told = {"knees": studies, "seed": seed, "shortcut": shortcut, "test": test, "shape": list(shape)}
    made = PartedSet(Path(folder), told)
    finished = made.finished()
    write = partial(_write_study, made=made, shape=shape)
    return _make(made, plan, write, jobs or os.cpu_count() or 1, progress) if finished is None else finished


def _write_study(knee: PlannedKnee, *, made: PartedSet, shape: tuple[int, int, int]) -> None:
    study = knee.make(shape)
    file = f"{knee.split}/{KNEE_CLASSES[knee.label]}/{knee.name}.npy"
    with atomic_path(made.folder / file) as temporary:
        np.save(temporary, study.volume, allow_pickle=False)
    with atomic_path(made.folder / "masks" / f"{knee.name}.npz") as temporary:
        np.savez_compressed(temporary, mask=study.mask)
    facts = {k: v for k, v in asdict(knee).items() if k in ("split", "group", "tear", "field", "laterality")}
    slices, height, width = study.volume.shape
    record = {
        "file": file, "label": knee.label, "slices": slices, "height": height, "width": width,
        "slice_mm": round(study.slice_mm, 3), "pixel_mm": round(study.pixel_mm, 4), "effusion_mm": knee.effusion,
        "bruise": int(knee.bruise), "contrast": study.contrast, **facts,
    }  # fmt: skip
    with atomic_path(made.record(knee.name)) as temporary:
        temporary.write_text(json.dumps(record))


def _make(
    made: PartedSet, plan: list[PlannedKnee], write: Callable[[PlannedKnee], None], jobs: int, progress: bool | None
) -> pd.DataFrame:
    """Make all studies; the manifest, from their records."""
    made.make(plan, write, processes=jobs, unit="study", progress=progress)
    classes = (made.folder / split / name for split in KNEE_SPLITS for name in KNEE_CLASSES)
    for place in (*classes, made.folder / "masks"):
        sweep(place)
    records = [json.loads(made.record(knee.name).read_text()) for knee in plan]
    frame = pd.DataFrame(records)[list(COLUMNS)].sort_values("file", ignore_index=True)
    made.finish(frame)
    return frame
