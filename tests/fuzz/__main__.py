"""The parent of the workers: it hands out cases, ends what takes too long or too much, counts, and reports."""

import argparse
import contextlib
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from tests.fuzz import seeds
from tests.fuzz.cases import MAKERS
from tests.fuzz.watch import MAX_MEGABYTES, MAX_SECONDS, Outcome
from tests.fuzz.worker import serve

PATIENCE = 120.0  # seconds for a worker to begin or to make a case
SPAWN = multiprocessing.get_context("spawn")


@dataclass
class Total:
    """Of one kind of case."""

    cases: int = 0
    inputs: int = 0
    refused: int = 0
    seconds: float = 0.0
    longest: float = 0.0
    megabytes: float = 0.0


@dataclass
class Fault:
    """The first case of a fault, and how many had it."""

    case: str
    what: str
    kept: Path
    count: int = 1


class Hand:
    """A worker, and what it is doing."""

    def __init__(self, base: Path, folder: Path, seed: int) -> None:
        self.base, self.folder, self.seed = base, folder, seed
        self.start()

    def start(self) -> None:
        self.link, other = SPAWN.Pipe()
        self.process = SPAWN.Process(target=serve, args=(other, self.base, self.folder, self.seed), daemon=True)
        self.process.start()
        other.close()
        self.job: tuple[str, int] | None = None
        self.ready, self.running, self.since = False, False, time.monotonic()

    def give(self, kind: str, number: int, only: frozenset[str] | None = None) -> None:
        self.job, self.running, self.since = (kind, number), False, time.monotonic()
        self.link.send((kind, number, only))

    def trouble(self) -> str:
        """What is wrong with it now: it takes too long, too much, or has died."""
        if not self.process.is_alive():
            return f"died with {self.process.exitcode}"
        seconds = time.monotonic() - self.since
        # Where others use the processors, too, a second is shorter.
        busy = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
        if seconds > (MAX_SECONDS if self.running else PATIENCE) * busy:
            return f"over {seconds:.0f} s" if self.running else f"did not begin in {seconds:.0f} s"
        try:
            resident = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        except OSError:
            return ""
        megabytes = resident * os.sysconf("SC_PAGE_SIZE") / 2**20
        return f"over {megabytes:.0f} MB" if megabytes > MAX_MEGABYTES * 1.1 else ""

    def end(self) -> str:
        """Stop it and all that it started; where it was, if it can still tell."""
        stacks = self.folder / "stacks"
        if self.process.is_alive() and self.ready:
            os.kill(self.process.pid or 0, signal.SIGUSR1)
            time.sleep(0.5)
        text = stacks.read_text() if stacks.is_file() else ""
        self.kill()
        frames = [line.strip() for line in text.splitlines() if "/fracturelib/" in line]
        return frames[0].replace(str(Path(seeds.__file__).parents[2]), "") if frames else ""

    def kill(self) -> None:
        if self.ready and self.job is None:
            self.link.close()  # it ends by itself
            self.process.join(10)
        try:
            os.killpg(self.process.pid or 0, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            self.process.kill()
        self.process.join()
        self.link.close()


@dataclass
class Run:
    """A whole run: its workers, its totals and its faults."""

    seed: int
    work: Path
    kinds: dict[str, float]
    totals: dict[str, Total] = field(default_factory=dict)
    faults: dict[str, Fault] = field(default_factory=dict)
    begun: dict[str, int] = field(default_factory=dict)

    def next(self) -> tuple[str, int]:
        """The kind that has had least of its proportion of the time, and the number of its next case."""
        spent = {kind: (self.totals[kind].seconds if kind in self.totals else 0.0) for kind in self.kinds}
        waiting = {
            kind: self.begun.get(kind, 0) - (self.totals[kind].cases if kind in self.totals else 0) for kind in spent
        }
        kind = min(self.kinds, key=lambda k: (spent[k] + 2 * waiting[k]) / self.kinds[k])
        self.begun[kind] = self.begun.get(kind, 0) + 1
        return kind, self.begun[kind] - 1

    def fault(self, hand: Hand, key: str, what: str, file: str = "") -> None:
        """Count a fault; keep the first case of its kind, and say how to have it again."""
        kind, number = hand.job or ("?", 0)
        if key in self.faults:
            self.faults[key].count += 1
            return
        kept = self.work / "kept" / f"{kind}-{number}"
        if not kept.exists() and (hand.folder / "case").exists():
            kept.parent.mkdir(exist_ok=True)
            os.rename(hand.folder / "case", kept)
        again = f"python -m tests.fuzz --seed {self.seed} --case {kind}:{number}{file}"
        self.faults[key] = Fault(again, what, kept)
        print(f"FAULT {key}\n  {what.strip()[-600:]}\n  {again}\n  kept: {kept}", flush=True)

    def result(self, hand: Hand, inputs: int, outcome: Outcome, files: dict[str, str]) -> None:
        kind, _ = hand.job or ("?", 0)
        total = self.totals.setdefault(kind, Total())
        total.cases, total.inputs = total.cases + 1, total.inputs + inputs
        total.refused += outcome.refused
        total.seconds += outcome.seconds
        total.longest, total.megabytes = max(total.longest, outcome.seconds), max(total.megabytes, outcome.megabytes)
        for key, what in outcome.faults:
            self.fault(hand, key, what, files.get(key, ""))

    def message(self, hand: Hand, message: Any) -> None:
        """Take what a worker says, and give it something to do."""
        hand.since = time.monotonic()
        if message == "begun":
            hand.running = True
        elif message == "done":
            hand.running = False
        elif message == "ready":
            hand.ready = True
        else:
            inputs, outcome, files, worn = message
            self.result(hand, inputs, outcome, files)
            hand.job = None
            if worn:
                hand.kill()
                hand.start()

    def look_after(self, hand: Hand) -> None:
        """End a worker that is in trouble, and put another in its place."""
        trouble = hand.trouble()
        if not trouble:
            return
        where = hand.end()
        if hand.job:
            kind = hand.job[0]
            total = self.totals.setdefault(kind, Total())
            total.cases, total.inputs, total.seconds = total.cases + 1, total.inputs + 1, total.seconds + MAX_SECONDS
            what = "died" if "died" in trouble else "memory" if "MB" in trouble else "hangs"
            self.fault(hand, f"{what} in {where or kind}", trouble)
        elif not hand.ready:
            raise RuntimeError(f"a worker {trouble} before it was ready")
        hand.start()

    def go(self, seconds: float, workers: int) -> None:
        """Hand out cases until the time is over; those that have begun are waited for."""
        hands = [Hand(self.work / "base", self.work / f"worker{i}", self.seed) for i in range(workers)]
        stop = None
        while stop is None or time.monotonic() < stop or any(h.job for h in hands):
            links = {hand.link: hand for hand in hands}
            for link in wait(list(links), timeout=0.1):
                with contextlib.suppress(EOFError, ConnectionResetError):
                    self.message(links[link], link.recv())
            for hand in hands:
                self.look_after(hand)
                if hand.ready and stop is None:
                    stop = time.monotonic() + seconds
                if hand.ready and hand.job is None and stop and time.monotonic() < stop:
                    hand.give(*self.next())
        for hand in hands:
            hand.kill()

    def once(self, kind: str, number: int, only: frozenset[str] | None) -> None:
        """Run one case again."""
        hand = Hand(self.work / "base", self.work / "worker", self.seed)
        while not (hand.ready and hand.job is None) or kind not in self.totals:
            if hand.ready and hand.job is None:
                hand.give(kind, number, only)
            if hand.link.poll(0.1):
                self.message(hand, hand.link.recv())
            self.look_after(hand)
        hand.kill()

    def report(self) -> bool:
        """Print the totals and the faults, and say whether there is none."""
        print(f"{'kind and command':28}{'cases':>7}{'inputs':>8}{'refused':>9}{'taken':>8}", end="")
        print(f"{'seconds':>9}{'longest':>9}{'peak MB':>9}")
        whole = Total()
        for kind, t in sorted(self.totals.items()):
            _line(kind, t)
            whole.cases, whole.inputs, whole.refused = (
                whole.cases + t.cases,
                whole.inputs + t.inputs,
                whole.refused + t.refused,
            )
            whole.seconds += t.seconds
            whole.longest, whole.megabytes = max(whole.longest, t.longest), max(whole.megabytes, t.megabytes)
        _line("all", whole)
        if self.faults:
            print(f"\n{len(self.faults)} faults; inputs are kept in {self.work / 'kept'}")
            for key, fault in sorted(self.faults.items(), key=lambda item: -item[1].count):
                print(f"{fault.count:5} x {key}\n        {fault.case}")
        else:
            print(f"no fault; seed {self.seed}")
        return not self.faults


def _line(name: str, t: Total) -> None:
    print(
        f"{name:28}{t.cases:7}{t.inputs:8}{t.refused:9}{t.inputs - t.refused:8}{t.seconds:9.1f}{t.longest:9.2f}"
        f"{t.megabytes:9.0f}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Hostile input for every command.")
    parser.add_argument("--seconds", type=float, default=300.0, help="how long cases are handed out")
    parser.add_argument("--seed", type=int, default=0, help="decides every case")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--only", default="", metavar="KINDS", help="kinds that begin so, such as dicom,coco.train")
    parser.add_argument("--case", default=None, metavar="KIND:NUMBER", help="one case alone")
    parser.add_argument("--file", default=None, help="with --case: of its damaged files only this one")
    args = parser.parse_args()
    kinds = {kind: share for kind, (share, _) in MAKERS.items() if kind.startswith(tuple(args.only.split(",")))}
    work = Path(tempfile.mkdtemp(prefix="fracture-fuzz-"))
    ready = SPAWN.Process(target=seeds.prepare, args=(work / "base",))
    ready.start()
    ready.join()
    if ready.exitcode:
        print("the sound things could not be made", file=sys.stderr)
        return 1
    run = Run(args.seed, work, kinds)
    try:
        if args.case:
            kind, _, number = args.case.partition(":")
            run.once(kind, int(number), frozenset([args.file]) if args.file else None)
        else:
            run.go(args.seconds, args.workers)
        negative = run.report()
    finally:
        for part in ("base", *(p.name for p in work.glob("worker*"))):
            shutil.rmtree(work / part, ignore_errors=True)
    if negative:
        shutil.rmtree(work)
    return 0 if negative else 1


if __name__ == "__main__":
    sys.exit(main())
