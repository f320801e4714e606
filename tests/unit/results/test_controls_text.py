from __future__ import annotations

import json
from pathlib import Path

import pytest

from ctcedge.errors import SetupError
from ctcedge.records import plain
from ctcedge.results.controls import SCHEMA, Control, DecisionContext, read

CONTEXT = DecisionContext("0" * 64, "balanced", "1" * 64)
CONTROL = Control("Müller", "/x", "2026-01-02T03:04:05.678Z", "m 1", CONTEXT, 3000, 3)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_a_file_that_another_program_saved_is_read(tmp_path: Path, encoding: str) -> None:
    content = {"schema": SCHEMA, "controls": [plain(CONTROL)]}
    text = json.dumps(content, ensure_ascii=False, indent=1).replace("\n", "\r\n")
    (tmp_path / "controls.json").write_bytes(text.encode(encoding))
    assert read(tmp_path) == [CONTROL]
    (tmp_path / "controls.json").write_bytes(text.encode("cp1252"))
    with pytest.raises(SetupError, match=r"line 5 is not UTF-8 .*Müller.*save the file as UTF-8"):
        read(tmp_path)
