"""A set on disk that is made part by part on all cores: what an interrupted call left is kept, and the rest made."""

import json
import multiprocessing
import shutil
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any, Protocol

import cv2
import pandas as pd
from tqdm import tqdm

from fracturelib._io.files import InputError, atomic_path, printable
from fracturelib._io.processes import end_with_parent, interrupts_held

UNFINISHED = ".unfinished"
RECIPE = "simulation.json"
CHUNK = 4  # parts that a process makes in one go


class Part(Protocol):
    """A part of a set, such as an image, with a name of its own."""

    @property
    def name(self) -> str:
        """Without folder and suffix."""


@dataclass(frozen=True)
class PartedSet:
    """A folder, and the recipe that all its parts follow: whatever decides what they are, as JSON has it."""

    folder: Path
    recipe: dict[str, Any]

    def finished(self) -> pd.DataFrame | None:
        """The manifest of a set that is there already, None if there is none; InputError if something else is there."""
        done, begun = recipe_of(self.folder), recipe_of(self.folder / UNFINISHED)
        if done == self.recipe and (self.folder / "manifest.csv").is_file():
            shutil.rmtree(self.folder / UNFINISHED, ignore_errors=True)  # of a call that was killed at its last moment
            return pd.read_csv(self.folder / "manifest.csv", keep_default_na=False)
        if self.folder.exists() and not self.folder.is_dir():
            raise InputError(f"{printable(self.folder)}: a file; expected a new folder")
        strange = self.folder.exists() and any(p.name != UNFINISHED for p in self.folder.iterdir())
        held = done if begun is None else begun
        if held not in (None, self.recipe) or (begun is None and strange):
            raise InputError(
                f"{self.folder} is not empty and holds another data set; expected a new folder, or one that the same "
                "call began"
            )
        return None

    def record(self, name: str) -> Path:
        """Where what is known of a part lies until the set is whole: written last, so that the part is then whole."""
        return self.folder / UNFINISHED / f"{name}.json"

    def make(
        self, parts: Sequence[Part], write: Callable[[Any], None], *, processes: int, unit: str, progress: bool | None
    ) -> None:
        """Write the parts that have no record yet; a bar counts them, on a terminal only if `progress` is None."""
        try:
            with atomic_path(self.folder / UNFINISHED / RECIPE) as temporary:
                temporary.write_text(json.dumps(self.recipe))
        except OSError as error:
            raise InputError(
                f"{printable(self.folder)}: {error.strerror}; expected a folder that can be written to"
            ) from None
        waiting = [part for part in parts if not self.record(part.name).is_file()]
        chunks = [waiting[i : i + CHUNK] for i in range(0, len(waiting), CHUNK)]
        hidden = None if progress is None else not progress
        with tqdm(total=len(parts), initial=len(parts) - len(waiting), unit=unit, disable=hidden) as bar:
            if processes == 1 or len(chunks) < 2:
                for chunk in chunks:
                    bar.update(_work(chunk, write))
            else:
                self._share(chunks, write, min(processes, len(chunks)), bar.update)

    def _share(
        self, chunks: list[list[Part]], write: Callable[[Any], None], processes: int, report: Callable[[int], Any]
    ) -> None:
        context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
        stop = context.Event()
        with ProcessPoolExecutor(processes, mp_context=context, initializer=_begin, initargs=(stop,)) as pool:
            try:
                with interrupts_held():
                    jobs = [pool.submit(_work, chunk, write) for chunk in chunks]
                for job in as_completed(jobs):
                    report(job.result())
            except BrokenProcessPool:
                raise InputError(
                    f"{self.folder}: a worker process was lost, perhaps for want of memory; expected all to go on: "
                    "do the same again, with fewer processes"
                ) from None
            finally:  # if all is done, nobody is left to be told
                stop.set()
                pool.shutdown(wait=False, cancel_futures=True)

    def finish(self, frame: pd.DataFrame) -> None:
        """Write the manifest, last of all: a folder with a manifest is whole."""
        with atomic_path(self.folder / RECIPE) as temporary:
            temporary.write_text(json.dumps(self.recipe, indent=1))
        with atomic_path(self.folder / "manifest.csv") as temporary:
            frame.to_csv(temporary, index=False, lineterminator="\n")
        shutil.rmtree(self.folder / UNFINISHED)


def recipe_of(folder: Path) -> dict[str, Any] | None:
    """What a folder says that a set was made from, None without a word; of a spoilt one, what none is made from."""
    try:
        return (json.loads((folder / RECIPE).read_text()) or {"spoilt": True}) if (folder / RECIPE).is_file() else None
    except (ValueError, RecursionError):
        return {"spoilt": True}


def _begin(told_to_stop: Event) -> None:
    """What a worker does first."""
    global _stopped
    _stopped = told_to_stop.is_set
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, who tells
    cv2.setNumThreads(1)


_stopped: Callable[[], bool] = bool  # of a worker: whether its parent has told it to stop


def _work(parts: Sequence[Part], write: Callable[[Any], None]) -> int:
    for part in parts:
        if _stopped():
            break
        write(part)
    return len(parts)
