"""What is wrong with a data set, and how it gets right: the audit for copies, leaks and shortcuts; the import."""

from fracturelib.curate.audit import audit_folder
from fracturelib.curate.audit_report import to_text
from fracturelib.curate.importer import import_dataset
from fracturelib.curate.shortcuts import find_shortcuts

__all__ = ["audit_folder", "find_shortcuts", "import_dataset", "to_text"]
