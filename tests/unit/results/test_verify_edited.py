"""Sidecars that were edited by hand, of which the network need not know."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.cli_runner import call, classify
from tests.helpers.sidecar_files import load, sealed, sidecar
from tests.unit.results.review_files import entry
from tests.unit.results.test_verify import IMAGE, edit, verified


@pytest.mark.parametrize("seal", [True, False])
def test_each_call_is_checked_against_its_score(
    called: Path, model_folder: Path, seal: bool
) -> None:
    """Also of those that are not recomputed."""
    assert verified(called, model_folder, "--sample", 0)["calls_follow"] == 4
    edit(called, lambda record: record.update(call="leukocyte"), seal=seal)
    found = verified(called, model_folder, "--sample", 0, code=3)
    assert found["different"] == [{"path": IMAGE, "why": "its call does not follow from its score"}]
    assert (found["chosen"], found["calls_follow"]) == (0, 3)
    assert bool(found["altered"]) == (not seal)


@pytest.mark.parametrize("lacking", ["model", "score"])
@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"call": "leukocyte"}, "its call does not follow from its probability"),
        ({"call": "review"}, "its call does not follow from its reasons"),
        ({"reasons": ["out-of-focus"]}, "its call does not follow from its reasons"),
        ({}, None),
    ],
)
def test_without_model_or_score_the_call_is_checked_against_its_probability(
    called: Path, model_folder: Path, lacking: str, change: dict[str, Any], why: str | None
) -> None:
    without = {"score": None} if lacking == "score" else {}
    edit(called, lambda record: record.update(without | change))
    model = None if lacking == "model" else model_folder
    code = 3 if why or model is None else 0
    found = verified(called, model, "--sample", 0, code=code)
    assert found["different"] == ([{"path": IMAGE, "why": why}] if why else [])


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda r: r.update(cell="999"), "its cell is '999', and that of the path is '00003'"),
        (lambda r: r["image"].update(name="x.png"), "its image is named 'x.png'"),
    ],
)
def test_a_sidecar_that_does_not_fit_its_path_is_named(
    called: Path, model_folder: Path, change: Callable[[dict[str, Any]], object], why: str
) -> None:
    edit(called, change)
    (found,) = verified(called, model_folder, code=3)["misplaced"]
    assert found["path"] == IMAGE
    assert why in found["why"]
    text = call("verify", called, "--model", model_folder, code=3).stdout
    assert "1 sidecar does not belong to its path" in text


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda r: r.update(history=[]), "its earlier calls were removed"),
        (lambda r: r.update(review=None), "its reviews were removed"),
        (lambda r: r["review"].update(call="leukocyte"), "its reviews were changed"),
        (lambda r: r["image"].update(bytes=7), "its call or other values were changed"),
    ],
)
def test_what_was_edited_or_removed_is_named_also_after_the_next_run(
    called: Path,
    model_folder: Path,
    saved: Callable[..., Path],
    change: Callable[[dict[str, Any]], object],
    why: str,
) -> None:
    classify(called, model_folder, "--prevalence", 0.01)
    call("review", "import", saved(entry(called, IMAGE)), called)
    assert verified(called, model_folder, "--all")["altered"] == []
    edit(called, change, seal=False)
    (found,) = verified(called, model_folder, "--sample", 0, code=3)["altered"]
    assert found["path"] == IMAGE
    assert why in found["why"]
    text = call("verify", called, "--model", model_folder, code=3).stdout
    assert "1 sidecar was changed after it was written" in text
    classify(called, model_folder, "--prevalence", 0.02)
    (found,) = verified(called, model_folder, "--sample", 0, code=3)["altered"]
    assert found["path"] == IMAGE


def test_what_has_no_chain_is_named_and_no_fault(called: Path, model_folder: Path) -> None:
    place = sidecar(called / IMAGE)
    record = load(place)
    del record["chain"]
    place.write_text(json.dumps(record | {"history": []}))
    assert verified(called, model_folder)["without_chain"] == [IMAGE]
    text = call("verify", called, "--model", model_folder).stdout
    assert "3 sidecars have a hash chain" in text
    assert "1 sidecar has none yet" in text
    classify(called, model_folder, "--prevalence", 0.01)
    assert verified(called, model_folder)["without_chain"] == []


def test_what_ctcedge_writes_fits_its_chain(called: Path, model_folder: Path) -> None:
    """Numbers and texts are hashed as they are read back."""
    for number, content in enumerate((b"", b"broken", b"\x89PNG\r\n\x1a\n")):
        (called / "S1" / f"9{number}_BF.png").write_bytes(content)
    for words in ((), ("--um-per-px", 1), ("--prevalence", 0.0002), ("--force",)):
        classify(called, model_folder, *words, code=3)
    found = verified(called, model_folder, "--all")
    assert (found["altered"], found["without_chain"], found["sidecars"]) == ([], [], 7)
    for path in called.rglob("*.ctc.json"):
        assert load(path)["chain"]["record"] == sealed(load(path))["chain"]["record"]
