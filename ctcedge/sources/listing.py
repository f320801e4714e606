"""The cells of a folder once its frames and files of many pages were cut."""

from __future__ import annotations

from pathlib import Path

from ctcedge.discovery.naming import Naming
from ctcedge.discovery.scan import CropListing, list_folder, require_crops
from ctcedge.sources.cutter import Cutter


def cut_cells(folder: Path, cutter: Cutter, naming: Naming, *, force: bool = False) -> CropListing:
    """Cut what is missing, and list the folder.

    Raises:
        NoCropsError: it has no bright-field crop, and the cutter no reason for that.
        SetupError: the folder or the index table cannot be read, or crops cannot be written.
    """
    cutter.cut_table()
    listing = list_folder(folder, naming)
    if cutter.cut_files([*listing.crops, *listing.skipped], force=force):
        listing = list_folder(folder, naming)
    # A file that cannot be cut is named with the reason, not as one whose name is odd.
    skipped = [entry for entry in listing.skipped if entry.path not in cutter.problems]
    listing = CropListing(listing.crops, listing.other_channels, skipped)
    if not cutter.problems and not cutter.stopped:
        require_crops(folder, listing)
    return listing
