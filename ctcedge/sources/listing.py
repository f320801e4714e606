"""The cells of a folder once its frames and files of many pages were cut."""

from __future__ import annotations

from pathlib import Path

from ctcedge.discovery.naming import Naming
from ctcedge.discovery.scan import CropListing, list_folder
from ctcedge.sources.cutter import Cutter


def cut_cells(folder: Path, cutter: Cutter, naming: Naming, *, force: bool = False) -> CropListing:
    """Cut what is missing, and list the folder.

    Raises:
        SetupError: the folder or the index table cannot be read, or crops cannot be written.
    """
    cutter.cut_table()
    listing = list_folder(folder, naming)
    if cutter.cut_files([*listing.crops, *listing.skipped], force=force):
        return list_folder(folder, naming)
    return listing
