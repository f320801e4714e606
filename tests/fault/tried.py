"""A small export with reviews, the commands that are tried on it, and what must hold afterwards."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from ctcedge.report.pseudonyms import KEY_NAME
from tests.fault.calls import Ended, Forker
from tests.helpers.correction_entries import correction
from tests.helpers.drawn_cells import CTC, LEUKOCYTE, REVIEW, cell, save
from tests.helpers.sidecar_files import load
from tests.unit.results.review_files import corrections

CROPS = {
    f"S{sample}/{number:05}_BF.png": diameter
    for sample, numbers in ((1, (1, 2, 3)), (2, (4, 5)))
    for number, diameter in zip(numbers, (LEUKOCYTE, REVIEW, CTC), strict=False)
}
_REVIEWED = list(CROPS)[1:3]
_CHANGED = ("out", "state", "results")
_SIGNATURE = ("st_ino", "st_size", "st_mtime_ns", "st_mode")
_OK_CODES = {0, 2, 3}


class Place:
    """The export, its sidecars, the state and the results, all below one folder.

    Args:
        root: an existing folder.
        model: a folder of a model, which is copied.
    """

    def __init__(self, root: Path, model: Path) -> None:
        self.root = root
        self.folder, self.out = root / "in", root / "out"
        self.state, self.results = root / "state", root / "results"
        self.model = root / "model"
        shutil.copytree(model, self.model)
        for number, (name, diameter) in enumerate(CROPS.items()):
            save(self.folder / name, cell(diameter, background=120 + number))
        save(self.folder / "S1/00001_DAPI.png", cell(LEUKOCYTE))
        for below in (self.state, self.results):
            below.mkdir()
        self._images = _contents(self.folder) | _contents(self.model)
        self._saved: dict[str, Path] = {}
        self._seen: tuple[str, Any] | None = None

    def words(self, *words: object) -> list[object]:
        """Arguments of a command on this folder, with `{}` for the root."""
        return [str(word).replace("{}", str(self.root)) for word in words]

    def save(self, name: str) -> None:
        """Save the present state under a name."""
        kept = self.root.parent / f"kept-{name}"
        for below in _CHANGED:
            if (self.root / below).exists():
                shutil.copytree(self.root / below, kept / below)
        self._saved[name] = kept

    def restore(self, name: str) -> None:
        """Bring a saved state back, unless nothing has changed since."""
        for left in self.folder.rglob(".ctcedge-*"):  # one problem must not be found in later tries
            left.unlink()
        if self._seen == (name, self._signatures()):
            return
        for below in _CHANGED:
            shutil.rmtree(self.root / below, ignore_errors=True)
            if (self._saved[name] / below).exists():
                shutil.copytree(self._saved[name] / below, self.root / below)
        self._seen = name, self._signatures()

    def _signatures(self) -> dict[str, tuple[int, ...]]:
        return {
            str(path): tuple(getattr(path.lstat(), name) for name in _SIGNATURE)
            for below in _CHANGED
            for path in (self.root / below).rglob("*")
        }

    def records(self) -> dict[str, dict[str, Any]]:
        """The sidecars, each of which must be whole, but for those that nobody has replaced."""
        records = {}
        for name in CROPS:
            path = self.out / f"{name}.ctc.json"
            if path.exists() and not self._is_untouched(path):
                records[name] = load(path)
        return records

    def _is_untouched(self, path: Path) -> bool:
        """Whether this is a sidecar that was made old or torn."""
        kept = [self._saved[name] for name in ("old", "torn") if name in self._saved]
        data = path.read_bytes()
        return any(data == (saved / path.relative_to(self.root)).read_bytes() for saved in kept)

    def all_classified(self) -> bool:
        """Whether every crop has a call."""
        records = self.records()
        return len(records) == len(CROPS) and all(
            record["status"] == "classified" for record in records.values()
        )

    def check_inputs(self) -> None:
        """Check that images and model are as they were."""
        assert _contents(self.folder) | _contents(self.model) == self._images, "inputs changed"

    def outcome(self) -> dict[str, Any]:
        """What is on the disk, without times and random numbers."""
        return {
            "records": {name: _timeless(record) for name, record in self.records().items()},
            "controls": _timeless(_json(self.state / "controls.json")),
            "results": sorted(p.name for p in self.results.iterdir() if not _is_temporary(p)),
            "files": sorted(
                str(path.relative_to(self.out))
                for path in self.out.rglob("*")
                if path.is_file()
                and not _is_temporary(path)
                and not path.name.endswith("in-hand")
                and not _is_report(path)
            ),
        }

    def temporary(self) -> list[Path]:
        """Temporary files."""
        return [path for path in self.root.rglob("*") if _is_temporary(path)]


class Command(NamedTuple):
    """A command that is tried.

    Attributes:
        words: its arguments.
        start: name of the saved state that it starts with.
        check: raises AssertionError where exit code 0 is a lie.
        watches: whether it is stopped once every crop has a sidecar.
        again: whether a second run succeeds, as a rule.
    """

    words: tuple[str, ...]
    start: str
    check: Callable[[Place, Ended], object] = lambda place, ended: None
    watches: bool = False


def _classified(place: Place, ended: Ended) -> None:
    assert place.all_classified(), "exit code 0, but not all are classified"


def _complete_json(place: Place, ended: Ended) -> None:
    summary = json.loads(ended.output)
    if summary["complete"]:
        _classified(place, ended)


def _um(value: float) -> Callable[[Place, Ended], None]:
    def check(place: Place, ended: Ended) -> None:
        _classified(place, ended)
        found = {record["image"]["um_per_px"] for record in place.records().values()}
        assert found == {value}, f"exit code 0, but um/px are {found}"

    return check


def _upgraded(place: Place, ended: Ended) -> None:
    # What cannot be upgraded stays as it is, maybe all: an older schema is read everywhere.
    found = {record["image"]["um_per_px"] for record in place.records().values()}
    assert found <= {0.5}, f"exit code 0, but um/px are {found}"


def _prior(place: Place, ended: Ended) -> None:
    _classified(place, ended)
    found = {record["prior"] for record in place.records().values()}
    assert found == {0.1}, f"exit code 0, but priors are {found}"


def _imported(place: Place, ended: Ended) -> None:
    for name, record in place.records().items():
        assert "second" in notes(record), f"exit code 0, but a review of {name} is not there"


def _has(name: str, end: bytes, lines: int | None = None) -> Callable[[Place, Ended], None]:
    def check(place: Place, ended: Ended) -> None:
        data = (place.results / name).read_bytes()
        assert data.endswith(end), f"exit code 0, but {name} is not whole"
        assert lines is None or data.count(b"\n") == lines, f"exit code 0, but {name} lacks rows"

    return check


def _controls(place: Place, ended: Ended) -> None:
    added = {control["sample"] for control in _json(place.state / "controls.json")["controls"]}
    assert added == {"donor", "S2"}, f"exit code 0, but controls are {added}"


def _removed(place: Place, ended: Ended) -> None:
    assert _json(place.state / "controls.json")["controls"] == []


def _says(*texts: str) -> Callable[[Place, Ended], None]:
    def check(place: Place, ended: Ended) -> None:
        for text in texts:
            assert text in ended.output, f"exit code 0, but the output lacks {text!r}"

    return check


def _status(place: Place, ended: Ended) -> None:
    status = json.loads(ended.output)
    assert not status["complete"] or sum(status["calls"].values()) == len(CROPS)


_RUN = ("{}/in", "--out", "{}/out", "--model", "{}/model", "--provider", "cpu")
_READ = ("{}/in", "--sidecars", "{}/out")
_WATCH = (*_RUN, "--um-per-px", "0.5", "--stability-delay", "0", "--rescan-interval", "0.2")

COMMANDS = {
    "classify": Command(("classify", *_RUN, "--um-per-px", "0.5"), "fresh", _um(0.5)),
    "classify-again": Command(("classify", *_RUN, "--um-per-px", "0.6"), "called", _um(0.6)),
    "classify-done": Command(("classify", *_RUN, "--um-per-px", "0.5"), "called", _um(0.5)),
    "classify-rescore": Command(
        ("classify", *_RUN, "--um-per-px", "0.5", "--prevalence", "0.1"), "called", _prior
    ),
    "classify-upgrade": Command(("classify", *_RUN, "--um-per-px", "0.5"), "old", _upgraded),
    "classify-torn": Command(("classify", *_RUN, "--um-per-px", "0.5"), "torn", _um(0.5)),
    "classify-report": Command(
        ("classify", *_RUN, "--um-per-px", "0.5", "--report", "--json"), "fresh", _complete_json
    ),
    "watch": Command(
        ("watch", *_WATCH, "--metrics", "{}/results/m.prom", "--json"),
        "fresh",
        _complete_json,
        watches=True,
    ),
    "watch-again": Command(
        ("watch", *_WATCH, "--um-per-px", "0.6", "--report-idle", "0", "--json"),
        "called",
        _complete_json,
        watches=True,
    ),
    "report": Command(
        ("report", *_READ, "--model", "{}/model", "--out", "{}/results/r.html"),
        "called",
        _has("r.html", b"</html>\n"),
    ),
    "report-pseudonymise": Command(
        ("report", *_READ, "--model", "{}/model", "--out", "{}/results/r.html", "--pseudonymise"),
        "called",
        _has("r.html", b"</html>\n"),
    ),
    "export-csv": Command(
        ("export", *_READ, "--out", "{}/results/t.csv"), "called", _has("t.csv", b"\n", 6)
    ),
    "export-jsonl": Command(
        ("export", *_READ, "--out", "{}/results/t.jsonl"), "called", _has("t.jsonl", b"}\n", 5)
    ),
    "export-parquet": Command(
        ("export", *_READ, "--out", "{}/results/t.parquet"), "called", _has("t.parquet", b"PAR1")
    ),
    "export-picklist": Command(
        ("export", *_READ, "--picklist", "--out", "{}/results/p.csv"),
        "called",
        _has("p.csv", b"\n", 3),
    ),
    "review-import": Command(("review", "import", "{}/second.json", *_READ), "called", _imported),
    "controls-add": Command(
        ("controls", "add", "{}/in/S2", "--sidecars", "{}/out/S2"), "called", _controls
    ),
    "controls-remove": Command(("controls", "remove", "donor"), "called", _removed),
    "controls-list": Command(("controls", "list", "--json"), "called", _says('"donor"')),
    "verify": Command(("verify", *_READ, "--model", "{}/model", "--all", "--json"), "called"),
    "status": Command(
        ("status", "{}/in", "--out", "{}/out", "--model", "{}/model", "--json"), "called", _status
    ),
    "inspect": Command(("inspect", "{}/in", "--json"), "called"),
    "models": Command(("models", "verify", "{}/model", "--json"), "called"),
    "doctor": Command(("doctor", "{}/in", "--model", "{}/model", "--json"), "called"),
}


def prepare(place: Place, forker: Forker) -> dict[str, dict[str, Any]]:
    """Make the states that commands start with; return the sidecars of all but the fresh one."""

    def run(*words: str) -> None:
        ended = forker.run(place.words(*words))
        assert ended.code == 0, (words, ended)

    place.save("fresh")
    run("classify", *_RUN, "--um-per-px", "0.5")
    for name in ("first", "second"):
        _write_corrections(place, name)
    run("review", "import", "{}/first.json", *_READ)
    run("controls", "add", "{}/in/S2", "--sidecars", "{}/out/S2", "--name", "donor")
    place.save("called")
    called = place.records()
    for name in ("old", "torn"):
        place.restore("called")
        for crop in CROPS:
            path = place.out / f"{crop}.ctc.json"
            path.write_bytes(_old(path.read_bytes()) if name == "old" else _torn(path.read_bytes()))
        place.save(name)
    return called


def _old(data: bytes) -> bytes:
    """The sidecar as schema 2 has it."""
    record = json.loads(data)
    ood = record.pop("ood")
    record["schema"] = "ctcedge/sidecar/2"
    record["unlike"] = ood and {
        "distance": ood["distance"],
        "p": ood["p_value"],
        "traits": ood["features"],
    }
    record.pop("chain", None)
    return json.dumps(record).encode()


def _torn(data: bytes) -> bytes:
    """The sidecar with a damaged value, and whole reviews."""
    return data.replace(b'"status": "classified"', b'"status": 7').replace(
        b'"status":"classified"', b'"status":7'
    )


def _write_corrections(place: Place, note: str) -> None:
    day = 2 if note == "first" else 3
    entries = [
        correction(name, record, note=note, time=f"2026-01-0{day}T03:04:05.678Z")
        for name, record in place.records().items()
        if note == "second" or name in _REVIEWED
    ]
    text = json.dumps(corrections(*entries))
    (place.root / f"{note}.json").write_text(text, encoding="utf-8")


def notes(record: dict[str, Any]) -> list[str]:
    """Notes of all reviews of a sidecar."""
    review = record["review"]
    if review is None:
        return []
    return [*(entry["note"] for entry in review["history"]), review["note"]]


def check_nothing_lost(place: Place, command: Command, before: dict[str, dict[str, Any]]) -> None:
    """Check that nothing is torn, and no review, call, control or key is lost."""
    records = place.records()
    if command.start != "fresh":
        files = {name for name in CROPS if (place.out / f"{name}.ctc.json").exists()}
        assert files == set(CROPS), "a sidecar is gone"
    for name, record in records.items():
        earlier = before.get(name)
        if earlier is None:
            continue
        found = notes(record)
        assert set(notes(earlier)) <= set(found), f"a review of {name} is lost: {found}"
        assert len(found) == len(set(found)), f"a review of {name} is there twice: {found}"
        if command.start == "torn":
            continue
        calls = [_call_key(entry) for entry in (*record["history"], record)]
        kept = [_call_key(entry) for entry in (*earlier["history"], earlier)]
        assert calls[: len(kept)] == kept, f"an earlier call of {name} is lost"
        assert len(set(calls)) == len(calls), f"{name} was called twice"
    controls = place.state / "controls.json"
    if command.start == "called":
        assert controls.exists(), "the controls are gone"
    if controls.exists():
        _json(controls)
    key = place.out / KEY_NAME
    assert not key.exists() or key.stat().st_size == 32, "the key is torn"
    ends = {".html": b"</html>\n", ".csv": b"\n", ".jsonl": b"}\n", ".parquet": b"PAR1"}
    for path in place.results.rglob("*"):
        if path.suffix not in ends or (path.suffix == ".jsonl" and not path.stat().st_size):
            continue  # a table without rows: no sidecar could be read, and the exit code says so
        assert path.read_bytes().endswith(ends[path.suffix]), f"{path.name} is torn"
    place.check_inputs()


def _call_key(entry: dict[str, Any]) -> tuple[str, ...]:
    image = entry.get("image_sha256") or entry["image"]["sha256"]
    return image, entry["model"]["sha256"], entry["settings_sha256"]


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _json(path: Path) -> Any:
    return json.loads(path.read_bytes()) if path.exists() else None


def _is_temporary(path: Path) -> bool:
    return path.name.endswith(".tmp") or (path.name.startswith(".ctcedge-") and path.is_file())


_TIMES = {"created", "time", "added", "imported", "chain", "digest"}


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _timeless(item) for key, item in value.items() if key not in _TIMES}
    return [_timeless(item) for item in value] if isinstance(value, list) else value


def _is_report(path: Path) -> bool:
    """Whether a watch wrote this page; whether it had the time for it differs between runs."""
    return path.name.startswith("ctcedge-report-")
