from __future__ import annotations

import pytest

from ctcedge.discovery.naming import Crop, Naming
from ctcedge.discovery.proposal import propose

CELLS = range(12)
STAINS = ("BF", "DAPI")


@pytest.mark.parametrize(
    ("template", "paths"),
    [
        (
            "{cell}_{channel}.png",
            [f"P{p}/{c:05d}_{s}.png" for p in "12" for c in CELLS for s in STAINS],
        ),
        (
            "cell {cell}_{channel}.tif",
            [f"A/cell {c}_{s}.tif" for c in CELLS for s in ("BF", "CD45")],
        ),
        ("scan{cell}.png", [f"scan{c:04d}.png" for c in CELLS]),
        ("scan{cell}.png", ["scan0001.png"]),
        (
            "{sample}/{cell}/{channel}.png",
            [f"P{p}/{c}/{s}.png" for p in "12" for c in CELLS for s in STAINS],
        ),
        (
            "{sample}/{channel}/{cell}.png",
            [f"P{p}/{s}/{c}.png" for p in "12" for c in CELLS for s in STAINS],
        ),
        (
            "{sample}-{cell}-{channel}.png",
            [f"{p}-{c}-{s}.png" for p in "AB" for c in CELLS for s in STAINS],
        ),
        (
            "{sample}/{sample}_{cell}_{channel}.png",
            [f"{p}/{p}_{c}_{s}.png" for p in ("A7", "B8") for c in CELLS for s in STAINS],
        ),
        (
            "{channel}_{cell}.png",
            [f"A/{s}_{c}.png" for c in CELLS for s in ("bright field", "DAPI")],
        ),
        # Neither number alone identifies a cell.
        (
            "{cell}_{channel}.png",
            [f"A/{run}_{c}_{s}.png" for run in "123" for c in CELLS for s in STAINS],
        ),
        (
            "{cell}_*_{channel}.png",
            [f"A/{c:03d}_202{c % 5}_{s}.png" for c in CELLS for s in STAINS],
        ),
        ("{{{cell}}}_{channel}.png", [f"{{{c}}}_{s}.png" for c in CELLS for s in STAINS]),
        ("{cell}_{channel}.ome.tif", [f"{c}_{s}.ome.tif" for c in CELLS for s in STAINS]),
        ("{cell}.png", ["alpha.png", "beta.png"]),
    ],
)
def test_the_proposal_reads_all_names(template: str, paths: list[str]) -> None:
    proposal = propose(paths)
    assert proposal is not None
    assert (proposal.template, proposal.understood) == (template, len(paths))
    read = [Naming(proposal.template).read(path, "F") for path in paths]
    cells = {(crop.sample, crop.cell, crop.channel) for crop in read if isinstance(crop, Crop)}
    assert len(cells) == len(paths)


def test_words_that_may_be_channels_are_named() -> None:
    proposal = propose([f"P{p}_{c}_{s}.png" for p in "12" for c in CELLS for s in ("Vis", "Fluo1")])
    assert proposal is not None
    assert proposal.template == "{sample}_{cell}_{channel}.png"
    assert proposal.unknown_channels == ("Fluo1", "Vis")


def test_the_most_frequent_form_of_names_counts() -> None:
    paths = [f"scan{c}.png" for c in CELLS]
    proposal = propose(["overview of all.png", *paths, "notes.txt"])
    assert proposal is not None
    assert (proposal.template, proposal.images, proposal.understood) == ("scan{cell}.png", 13, 12)


@pytest.mark.parametrize("paths", [[], ["notes.txt"], ["_.png", "--.png"]])
def test_no_proposal(paths: list[str]) -> None:
    assert propose(paths) is None


def test_thousands_of_names() -> None:
    proposal = propose([f"scan{c}.png" for c in range(20_000)])
    assert proposal is not None
    assert proposal.template == "scan{cell}.png"
    assert proposal.images <= 5000
