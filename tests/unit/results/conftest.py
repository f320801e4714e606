from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.unit.results.review_files import SCHEMA, corrections


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., Path]:
    """Write a file of reviews, valid by the page's schema."""

    def save_file(*entries: dict[str, Any], **changes: Any) -> Path:
        content = corrections(*entries, **changes)
        jsonschema.Draft202012Validator(SCHEMA).validate(content)
        path = tmp_path / "corrections.json"
        path.write_text(json.dumps(content))
        return path

    return save_file
