"""What is wrong with a data set, and how it gets right: the audit for copies, leaks and shortcuts; the import."""

from fracturelib.curate.audit import audit_folder
from fracturelib.curate.importer import import_dataset

__all__ = ["audit_folder", "import_dataset"]
