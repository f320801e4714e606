"""The training kit by its installed name, for editable installs; its modules are in `train/`."""

from pathlib import Path

__path__ = [str(Path(__file__).parents[1] / "train")]
