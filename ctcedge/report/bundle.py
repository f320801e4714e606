"""Joins the page's ES modules into the text of one script.

A page opened from a file can load no modules, and its policy allows one script. Each module becomes
a function that returns its exports, so that names of one module are not seen by another.

Modules may use two forms only: `import { a, b } from "./name.js";` and `export` before a function,
class or const. Imports must not form a cycle.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_IMPORT = re.compile(r'^import \{([^}]*)\} from "\./(\w+)\.js";$', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function|class|const) (\w+))", re.MULTILINE)
_OTHER_FORM = re.compile(r"^(?:import|export)\b.*", re.MULTILINE)


def bundle(modules: Mapping[str, str], entry: str) -> str:
    """Return the text of a script that runs a module.

    Args:
        modules: source texts by module name.
        entry: name of the module to run.

    Raises:
        ValueError: the modules use another form of import or export, import a name that does not
            exist, or form a cycle.
    """
    exports = {name: _EXPORT.findall(text) for name, text in modules.items()}
    parts = [_wrapped(name, modules[name], exports) for name in _ordered(modules, entry)]
    return '(() => {\n"use strict";\n' + "\n".join(parts) + "})();\n"


def _ordered(modules: Mapping[str, str], entry: str) -> list[str]:
    """Modules that the entry needs, each after those that it imports."""
    order: list[str] = []

    def visit(name: str, importers: tuple[str, ...]) -> None:
        if name in importers:
            raise ValueError(f"modules import each other: {' -> '.join((*importers, name))}")
        if name not in modules:
            raise ValueError(f"{importers[-1]}.js imports {name}.js, which does not exist")
        if name not in order:
            for _, imported in _IMPORT.findall(modules[name]):
                visit(imported, (*importers, name))
            order.append(name)

    visit(entry, ("the page",))
    return order


def _wrapped(name: str, text: str, exports: Mapping[str, list[str]]) -> str:
    def imported(match: re.Match[str]) -> str:
        names = [part.strip() for part in match[1].split(",") if part.strip()]
        if missing := set(names) - set(exports[match[2]]):
            raise ValueError(f"{name}.js: {match[2]}.js does not export {', '.join(missing)}")
        return f"const {{ {', '.join(names)} }} = ${match[2]};"

    body = _EXPORT.sub("", _IMPORT.sub(imported, text))
    if other := _OTHER_FORM.search(body):
        raise ValueError(f"{name}.js: this form cannot be bundled: {other[0]}")
    return f"const ${name} = (() => {{\n{body}return {{ {', '.join(exports[name])} }};\n}})();\n"
