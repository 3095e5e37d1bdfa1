"""The list of planted faults fits the library as it is; `make mutants` tries them."""

import re
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.mutants import FAULTS, Fault, Outcome, verdict


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_a_fault_can_be_planted(fault: Fault) -> None:
    changed = fault.planted((ROOT / fault.path).read_text(encoding="utf-8"))
    assert fault.old != fault.new
    compile(changed, fault.path, "exec")  # a fault that cannot even be read is noticed by anything


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_its_tests_exist(fault: Fault) -> None:
    files = [word for word in fault.arguments if word.startswith("tests/")]
    assert files
    for word in files:
        file, _, test = word.partition("::")
        assert not test or re.search(rf"^def {test}\(", Path(ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)


def test_names_tell_faults_apart() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 48
    packages = {fault.file.split("/")[0] for fault in FAULTS}
    assert packages >= {"data", "training", "models", "metrics", "explain", "curate", "shift", "viz"}


@pytest.mark.parametrize("old", ["import osx", "e"])
def test_a_stale_fault_is_an_error(old: str) -> None:
    with pytest.raises(ValueError, match=r"the old text is in fracturelib/cli\.py [02] times; expected once"):
        Fault("", "cli.py", old, "", "").planted("one, ten")


@pytest.mark.parametrize(
    ("status", "failed", "said"),
    [
        (1, ("test",), "caught"),
        (0, (), "survived"),
        (5, (), "pytest ended with 5"),
        (2, ("test",), "pytest ended with 2"),
        (None, (), "over 60 s"),
    ],
)
def test_only_a_test_that_fails_has_noticed_a_fault(status: int | None, failed: tuple[str, ...], said: str) -> None:
    assert verdict(Outcome(status, (), failed, (), 1.0)) == said
