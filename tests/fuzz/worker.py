"""A process that makes and runs cases, one after the other, as its parent asks for them."""

import contextlib
import os
import shutil
import sys
import zlib
from multiprocessing.connection import Connection
from pathlib import Path

from numpy.random import Generator, default_rng

from tests.fuzz import cases, seeds, watch
from tests.fuzz.watch import Case, Outcome

ENOUGH_MEGABYTES = 1150  # a process that keeps so much is replaced, so that each case is measured by itself


def generator(seed: int, kind: str, number: int) -> Generator:
    """What decides a case."""
    return default_rng([seed, zlib.crc32(kind.encode()), number])


class Worker:
    """Makes a case in its folder, runs it, and finds the one file that is to blame."""

    def __init__(self, base: Path, folder: Path, seed: int) -> None:
        self.corpus, self.root, self.seed = seeds.opened(base), folder / "case", seed
        self.steady = (folder, base / "mpl")
        self.seen: set[str] = set()

    def make(self, kind: str, number: int, only: frozenset[str] | None = None) -> Case:
        shutil.rmtree(self.root, ignore_errors=True)
        self.root.mkdir(parents=True)
        made = cases.MAKERS[kind][1](self.corpus, self.root, generator(self.seed, kind, number))
        if only is not None:
            for path in [p for p in (self.root / "in").rglob("*") if p.name in made.named and p.name not in only]:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            made.named = tuple(name for name in made.named if name in only)
        return made

    def run(self, kind: str, number: int, only: frozenset[str] | None = None) -> tuple[Case, Outcome]:
        case = self.make(kind, number, only)
        return case, watch.run(case, steady=self.steady)

    def blamed(self, kind: str, number: int, case: Case, key: str) -> str:
        """The one file of many without which the fault does not come, as an argument; empty if it takes several."""
        suspects = list(case.named)
        while len(suspects) > 1:
            half = suspects[: len(suspects) // 2]
            for part in (half, suspects[len(half) :]):
                _, outcome = self.run(kind, number, frozenset(part))
                if key in [found for found, _ in outcome.faults]:
                    suspects = part
                    break
            else:
                return ""
        return f" --file {suspects[0]}" if suspects else ""


def serve(link: Connection, base: Path, folder: Path, seed: int) -> None:
    """Run the cases that come along `link`, until it is closed or too much memory is kept."""
    folder.mkdir(parents=True, exist_ok=True)
    os.environ |= {"MPLCONFIGDIR": str(base / "mpl"), "OMP_NUM_THREADS": "1"}
    sys.dont_write_bytecode = True
    os.setsid()
    watch.dump_on_signal(folder / "stacks")
    worker = Worker(base, folder, seed)
    import fracturelib.curate.audit
    import fracturelib.curate.importer
    import fracturelib.metrics.evaluate
    import fracturelib.viz.figures
    import fracturelib.viz.html_report  # noqa: F401

    for kind in ("image.explain", "cache.train"):  # what is loaded at first use does not count
        watch.run(worker.make(kind, 2**32 - 1), steady=worker.steady)
    link.send("ready")
    with contextlib.suppress(EOFError):
        while True:
            kind, number, only = link.recv()
            case = worker.make(kind, number, only)
            link.send("begun")
            outcome = watch.run(case, steady=worker.steady)
            link.send("done")
            blamed: dict[str, str] = {}
            new = [key for key, _ in outcome.faults if key not in worker.seen and " in " in key]
            worker.seen.update(new)
            if new and only is None and len(case.named) > 1:
                blamed = {new[0]: worker.blamed(kind, number, case, new[0])}
                case = worker.make(kind, number)
            kept = float(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
            link.send((case.inputs, outcome, blamed, kept > ENOUGH_MEGABYTES))
