"""The page's modules, joined into one script."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from ctcedge.report import page
from ctcedge.report.bundle import bundle

NODE = shutil.which("node")


def run(script: str) -> str:
    done = subprocess.run(["node", "-e", script], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.skipif(NODE is None, reason="node is not installed")
def test_modules_run_in_the_order_of_their_imports_with_names_of_their_own() -> None:
    modules = {
        "main": 'import { b } from "./b.js";\nimport { own } from "./a.js";\n'
        "console.log(JSON.stringify([b(), own]));\n",
        "b": 'import {\n  own,\n  Named,\n} from "./a.js";\n\nconst hidden = "b";\n'
        "export const b = () => hidden + own + new Named().name;\n",
        "a": 'const hidden = "a";\nexport const own = hidden;\n'
        'export class Named {\n  name = "named";\n}\nexport async function f() {}\n',
        "unused": "throw new Error();\n",
    }
    assert json.loads(run(bundle(modules, "main"))) == ["banamed", "a"]


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        ({"main": 'import { a } from "./a.js";\n'}, r"main.js imports a.js, which does not exist"),
        (
            {"main": 'import { a } from "./a.js";\n', "a": "const a = 1;\n"},
            r"main.js: a.js does not export a",
        ),
        (
            {"main": 'import { m } from "./a.js";\n', "a": 'import { x } from "./main.js";\n'},
            r"modules import each other: .*main -> a -> main",
        ),
        ({"main": 'import a from "./a.js";\n'}, r"main.js: this form cannot be bundled: import a"),
        ({"main": "export default 1;\n"}, r"main.js: this form cannot be bundled: export default"),
        ({"main": "export let a = 1;\n"}, r"main.js: this form cannot be bundled: export let"),
    ],
    ids=["missing module", "missing name", "cycle", "default import", "default export", "let"],
)
def test_what_cannot_be_bundled_is_refused(modules: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        bundle(modules, "main")


def test_the_page_contains_every_module() -> None:
    names = [path.stem for path in (Path(page.__file__).parent / "web" / "js").glob("*.js")]
    script = page._script()
    assert len(names) > 10
    for name in names:
        assert script.count(f"const ${name} = (() => {{") == 1
    assert "</script" not in script


def test_the_page_contains_every_style_sheet() -> None:
    files = (Path(page.__file__).parent / "web" / "css").glob("*.css")
    assert sorted(file.stem for file in files) == sorted(page._STYLES)
