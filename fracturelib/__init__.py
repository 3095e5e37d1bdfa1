"""Judge a fracture classifier for X-rays honestly. For education and research, not for clinical use."""

__version__ = "0.1.0"
