"""Hostile input for every command, all of it from one seed: `python -m tests.fuzz --help`, or `make fuzz`."""
