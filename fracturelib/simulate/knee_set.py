"""A set of simulated knees on disk: planned by patient, made study by study on all cores, and joined at the end."""

import json
import multiprocessing
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from tqdm import tqdm

from fracturelib._io.files import InputError, atomic_path, printable
from fracturelib._io.parts import sweep
from fracturelib._io.processes import end_with_parent, interrupts_held
from fracturelib.simulate.knee_plan import KNEE_SPLITS, PlannedKnee, plan_knees
from fracturelib.simulate.knee_study import SHAPE

KNEE_CLASSES = ("Whole", "Torn")
COLUMNS = (
    "file", "split", "label", "group", "slices", "height", "width", "slice_mm", "pixel_mm", "tear", "effusion_mm",
    "bruise", "field", "laterality", "contrast",
)  # fmt: skip
UNFINISHED = ".unfinished"
RECIPE = "simulation.json"


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
    plan, place = plan_knees(studies, seed=seed, shortcut=shortcut, test=test), Path(folder)
    if jobs is not None and jobs < 1:
        raise InputError(f"jobs is {jobs}; expected at least 1")
    told = {"knees": studies, "seed": seed, "shortcut": shortcut, "test": test, "shape": list(shape)}
    if _is_made(place, told):
        shutil.rmtree(place / UNFINISHED, ignore_errors=True)  # of a call that was killed at its last moment
        return pd.read_csv(place / "manifest.csv", keep_default_na=False)
    return _make_set(place, plan, told, jobs or os.cpu_count() or 1, progress)


def _make_set(
    folder: Path, plan: list[PlannedKnee], told: dict[str, Any], jobs: int, progress: bool | None
) -> pd.DataFrame:
    try:
        with atomic_path(folder / UNFINISHED / RECIPE) as temporary:
            temporary.write_text(json.dumps(told))
    except OSError as error:
        raise InputError(f"{printable(folder)}: {error.strerror}; expected a folder that can be written to") from None
    slices, height, width = told["shape"]
    waiting = [k for k in plan if not (folder / UNFINISHED / f"{k.name}.json").is_file()]
    _run(waiting, folder, (slices, height, width), jobs, progress, len(plan))
    for place in (*(folder / s / c for s in KNEE_SPLITS for c in KNEE_CLASSES), folder / "masks"):
        sweep(place)
    return _join(folder, plan, told)


def _write_study(knee: PlannedKnee, folder: Path, shape: tuple[int, int, int]) -> None:
    made = knee.make(shape)
    file = f"{knee.split}/{KNEE_CLASSES[knee.label]}/{knee.name}.npy"
    with atomic_path(folder / file) as temporary:
        np.save(temporary, made.volume, allow_pickle=False)
    with atomic_path(folder / "masks" / f"{knee.name}.npz") as temporary:
        np.savez_compressed(temporary, mask=made.mask)
    facts = {k: v for k, v in asdict(knee).items() if k in ("split", "group", "tear", "field", "laterality")}
    slices, height, width = made.volume.shape
    record = {
        "file": file, "label": knee.label, "slices": slices, "height": height, "width": width,
        "slice_mm": round(made.slice_mm, 3), "pixel_mm": round(made.pixel_mm, 4), "effusion_mm": knee.effusion,
        "bruise": int(knee.bruise), "contrast": made.contrast, **facts,
    }  # fmt: skip
    with atomic_path(folder / UNFINISHED / f"{knee.name}.json") as temporary:
        temporary.write_text(json.dumps(record))


def _begin() -> None:
    """What a worker does first."""
    end_with_parent()
    cv2.setNumThreads(1)


def _work(knees: list[PlannedKnee], folder: Path, shape: tuple[int, int, int]) -> int:
    for knee in knees:
        _write_study(knee, folder, shape)
    return len(knees)


def _run(
    knees: list[PlannedKnee], folder: Path, shape: tuple[int, int, int], jobs: int, progress: bool | None, total: int
) -> None:
    chunks = [knees[i : i + 4] for i in range(0, len(knees), 4)]
    hidden = None if progress is None else not progress  # None: tqdm looks whether there is a terminal
    with tqdm(total=total, initial=total - len(knees), unit="study", disable=hidden) as bar:
        if jobs == 1 or len(chunks) < 2:
            for chunk in chunks:
                bar.update(_work(chunk, folder, shape))
            return
        _run_many(chunks, folder, shape, min(jobs, len(chunks)), bar.update)


def _run_many(
    chunks: list[list[PlannedKnee]], folder: Path, shape: tuple[int, int, int], jobs: int,
    report: Callable[[int], Any],
) -> None:  # fmt: skip
    context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_begin) as pool:
        try:
            with interrupts_held():
                waiting = [pool.submit(_work, chunk, folder, shape) for chunk in chunks]
            for job in as_completed(waiting):
                report(job.result())
        except BrokenProcessPool:
            raise InputError(
                f"{folder}: a worker process was lost, perhaps for want of memory; expected all to go on: "
                "call again, with fewer jobs"
            ) from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _join(folder: Path, plan: list[PlannedKnee], config: dict[str, Any]) -> pd.DataFrame:
    """The manifest, from the records of all studies; written last: a folder with a manifest is whole."""
    records = [json.loads((folder / UNFINISHED / f"{knee.name}.json").read_text()) for knee in plan]
    frame = pd.DataFrame(records)[list(COLUMNS)].sort_values("file", ignore_index=True)
    with atomic_path(folder / RECIPE) as temporary:
        temporary.write_text(json.dumps(config, indent=1))
    with atomic_path(folder / "manifest.csv") as temporary:
        frame.to_csv(temporary, index=False, lineterminator="\n")
    shutil.rmtree(folder / UNFINISHED)
    return frame


def _is_made(folder: Path, config: dict[str, Any]) -> bool:
    """Whether the set is there already; InputError if something else is."""
    done, begun = _recipe_of(folder / RECIPE), _recipe_of(folder / UNFINISHED / RECIPE)
    if done == config and (folder / "manifest.csv").is_file():
        return True
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{printable(folder)}: a file; expected a new folder")
    strange = folder.exists() and any(p.name != UNFINISHED for p in folder.iterdir())
    held = done if begun is None else begun
    if held not in (None, config) or (begun is None and strange):
        raise InputError(
            f"{folder} is not empty and holds something else; expected a new folder, or one that the same call began"
        )
    return False


def _recipe_of(path: Path) -> dict[str, Any] | None:
    """What a set was made from, None without one; of a spoilt recipe, what none is made from."""
    try:
        return (json.loads(path.read_text()) or {"spoilt": True}) if path.is_file() else None
    except (ValueError, RecursionError):
        return {"spoilt": True}
