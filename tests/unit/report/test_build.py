"""Writing a report: which file, completely or not at all."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from ctcedge.errors import NoCropsError, OutputError, SetupError
from ctcedge.report.build import REPORT_NAME
from tests.helpers import report_data
from tests.helpers.cli_runner import call
from tests.helpers.drawn_cells import cell, encoded
from tests.helpers.sidecar_files import state


def test_an_internal_error_is_one_line(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctcedge.report.write_report", lambda *_, **__: 1 / 0)
    (line,) = call("report", run, code=1).stderr.splitlines()
    assert "internal error: ZeroDivisionError" in line


def test_a_report_of_one_sample(run: Path, tmp_path: Path) -> None:
    page = report_data.write(run, sample="S2", out=tmp_path / "S2.html")
    data = report_data.data_of(page)
    assert data["samples"] == ["S2"]
    assert "<title>ctcedge: run / S2</title>" in page.read_text(encoding="utf-8")
    assert data["draw"]["leukocytes"] < 12
    with pytest.raises(NoCropsError, match="no bright-field crop of sample 'S3'"):
        report_data.write(run, sample="S3")


def test_a_report_is_written_completely_or_not_at_all(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "page.html"
    out.write_text("before", encoding="utf-8")

    def fail(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr("ctcedge.report.montage.sheet", fail)
    with pytest.raises(KeyboardInterrupt):
        report_data.write(run, out=out)
    assert out.read_text(encoding="utf-8") == "before"
    assert set(tmp_path.iterdir()) == {run, out}


def test_nothing_but_the_page_is_written(run: Path) -> None:
    before = state(run)
    page = report_data.write(run)
    after = state(run)
    assert after.keys() - before.keys() == {page.name}
    assert {name: after[name] for name in before} == before


@pytest.mark.parametrize("where", ["no/such/folder/page.html", "run"])
def test_a_file_that_cannot_be_written_is_named(run: Path, tmp_path: Path, where: str) -> None:
    with pytest.raises(OutputError, match=re.escape(str(tmp_path / where))):
        report_data.write(run, out=tmp_path / where)


@pytest.mark.parametrize("name", ["S1/00003_BF.png", "S1/00003_BF.png.ctc.json", "ctcedge.toml"])
def test_other_files_are_not_replaced(run: Path, name: str) -> None:
    (run / "ctcedge.toml").touch()
    before = state(run)
    assert "--out must end in .html" in call("report", run, "--out", run / name, code=2).stderr
    assert state(run) == before


def test_nothing_to_report(tmp_path: Path) -> None:
    with pytest.raises(NoCropsError):
        report_data.write(tmp_path)
    (tmp_path / "1_BF.png").write_bytes(encoded(cell()))
    with pytest.raises(SetupError, match="ctcedge classify"):
        report_data.write(tmp_path)
    assert not (tmp_path / "ctcedge-report.html").exists()


def test_command_names_the_page(run: Path, tmp_path: Path) -> None:
    assert call("report", run).stdout == f"{run / 'ctcedge-report.html'}\n"
    call("classify", run, "--out", tmp_path / "out", "--provider", "cpu")
    page = tmp_path / "p.html"
    call("report", run, "--sidecars", tmp_path / "out", "--out", page, "--pseudonymise")
    assert report_data.data_of(page)["pseudonymised"] is True
    assert "no crop" in call("report", run, "--sidecars", tmp_path / "none", code=2).stderr


@pytest.mark.parametrize("target", ["precious", "nowhere", "loop.html", "folder"])
def test_a_link_at_a_name_that_ctcedge_chooses_is_replaced(
    run: Path, tmp_path: Path, target: str
) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "folder").mkdir(parents=True)
    (elsewhere / "precious").write_bytes(b"kept")
    (run / REPORT_NAME).symlink_to(REPORT_NAME if target == "loop.html" else elsewhere / target)
    page = report_data.write(run)
    assert page == run / REPORT_NAME
    assert not page.is_symlink()
    assert report_data.data_of(page)["folder_name"] == "run"
    assert (elsewhere / "precious").read_bytes() == b"kept"
    assert {path.name for path in elsewhere.rglob("*")} == {"folder", "precious"}


def test_a_link_that_the_user_names_is_followed_unless_it_leads_to_an_image(
    run: Path, tmp_path: Path
) -> None:
    (tmp_path / "real.html").touch()
    link = tmp_path / "link.html"
    link.symlink_to("real.html")
    call("report", run, "--out", link)
    assert link.is_symlink()
    assert report_data.data_of(tmp_path / "real.html")["folder_name"] == "run"
    image = run / "S1" / "00001_BF.png"
    before = image.read_bytes()
    for name, command in (("page.html", "report"), ("table.csv", "export")):
        (tmp_path / name).symlink_to(image)
        call(command, run, "--out", tmp_path / name, code=2)
    assert image.read_bytes() == before
