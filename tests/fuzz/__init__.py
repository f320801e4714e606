"""Mutated files against everything that reads what comes from outside; see `run.py`."""
