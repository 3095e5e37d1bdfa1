"""The examples in docstrings give what they say."""

import doctest
import importlib
import pkgutil

import pytest

import fracturelib

PACKAGES = ("data", "metrics", "models", "training", "explain", "shift")
MODULES = [
    f"fracturelib.{package}.{module.name}"
    for package in PACKAGES
    for module in pkgutil.iter_modules([f"{fracturelib.__path__[0]}/{package}"])
]


def examples_of(name: str) -> list[doctest.DocTest]:
    found = doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(name))
    return [test for test in found if test.examples]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    runner = doctest.DocTestRunner()
    for test in examples_of(name):
        assert runner.run(test).failed == 0, test.name


def test_there_are_examples() -> None:
    assert sum(len(examples_of(name)) for name in MODULES) >= 26
