"""Judge a fracture classifier for X-rays honestly. For education and research, never for clinical use."""

__version__ = "0.2.0"
