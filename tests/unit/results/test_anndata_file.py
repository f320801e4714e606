"""Tables in pandas and anndata; not in the default tier, as these libraries are large."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path
from typing import Any

import pytest

from ctcedge.results.columns import KINDS, Kind, Row
from ctcedge.results.table_files import write_table
from tests.helpers.cli_runner import call

pytestmark = [pytest.mark.anndata, pytest.mark.filterwarnings("default")]

anndata = pytest.importorskip("anndata", reason="needs ctcedge[anndata]")


def opened(folder: Path, out: Path, *options: object) -> Any:
    call("export", folder, "--out", out, *options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return anndata.read_h5ad(out)


def test_anndata(called: Path, tmp_path: Path) -> None:
    first = min(called.rglob("*.ctc.json"))
    record = json.loads(first.read_bytes())
    record["ood"] = {"distance": 2.0, "p_value": 0.5, "features": [0.25, -1.5]}
    first.write_text(json.dumps(record))
    data = opened(called, tmp_path / "t.h5ad")
    assert data.obs_names[0] == "S1/00001_BF.png"
    assert data.obs["cell"].tolist() == ["00001", "00002", "00003", "00034"]
    assert data.obs["call"].tolist() == ["leukocyte", "review", "CTC", "CTC"]
    assert data.obs["review"].isna().all() and data.obs["width"].tolist() == [64] * 4
    stains = ["DAPI_mean", "DAPI_integrated", "DAPI_background"]
    assert data.var_names.tolist() == ["area_um2", "area_px", "focus", *stains]
    assert data[:, "focus"].X.min() > 0
    features = data.obsm["features"]
    assert features.shape == (4, 2) and features[0].tolist() == [0.25, -1.5]
    assert str(features[1, 0]) == "nan"
    assert set(KINDS) <= {*data.obs.columns, *data.var_names}


def test_features_of_two_models_are_never_in_one_matrix(tmp_path: Path) -> None:
    kinds: dict[str, Kind] = {"path": "text", "features": "vector", "a/b": "number"}
    rows: list[Row] = [
        {"path": "1", "model_sha256": "a" * 64, "features": (1.0, 2.0), "a/b": 1.0},
        {"path": "\udcff", "model_sha256": "b" * 64, "features": (3.0,), "a/b": None},
        {"path": "3\x00", "model_sha256": None, "features": None, "a/b": 2.0},
    ]
    write_table(tmp_path / "t.h5ad", rows, kinds, "h5ad", decimal_comma=False)
    data = anndata.read_h5ad(tmp_path / "t.h5ad")
    assert data.obs_names.tolist() == ["1", "\\udcff", "3\\x00"]
    assert data.obsm["features_aaaaaaaa_2"][0].tolist() == [1, 2]
    assert data.obsm["features_bbbbbbbb_1"][1].tolist() == [3]
    assert data.obs["a_b"].tolist()[::2] == [1, 2]


def test_an_empty_table(tmp_path: Path) -> None:
    write_table(tmp_path / "t.h5ad", [], dict(KINDS), "h5ad", decimal_comma=False)
    assert anndata.read_h5ad(tmp_path / "t.h5ad").shape == (0, 3)


def test_pandas_as_the_docs_say(
    called: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = Path(__file__).parents[3] / "docs" / "how-to" / "export-tables.md"
    code = page.read_text("utf-8").partition("```py\n")[2].partition("```")[0]
    monkeypatch.chdir(tmp_path)
    for name in ("calls.csv", "calls.tsv", "calls.xlsx"):
        call("export", called, "--out", name)
    call("export", called, "--decimal", "comma", "--out", "comma.csv")
    setup, lines = code.partition("table = ")[0], re.findall("^table = .*", code, re.MULTILINE)
    assert len(lines) == 4
    for line in lines:
        scope: dict[str, Any] = {}
        exec(setup + line, scope)
        table = scope["table"]
        assert table["cell"].tolist() == ["00001", "00002", "00003", "00034"]
        assert table["probability"].dtype == float and list(table.columns) == list(KINDS)
