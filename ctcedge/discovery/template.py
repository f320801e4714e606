"""Templates of names, such as `{sample}/cell {cell}_{channel}.png`.

Fields are `{sample}`, `{cell}` and `{channel}`; `*` stands for any text within a part of the path.
Everything else is compared literally, without case. A field that is repeated must have the same
text each time.
"""

from __future__ import annotations

import re

from ctcedge.errors import SettingsError

FIELDS = ("cell", "channel", "sample")

_TOKEN = re.compile(r"\{\{|\}\}|\{(?P<field>[^{}]*)\}|\*+|[{}]|[^{}*]+")
_ANY_IMAGE = r"(?:\.ome)?\.(?:png|tiff?)"
_ENDING = re.compile(r"\.(?:png|tiff?|\*)\Z", re.IGNORECASE)


def template_regex(template: str, channel: str) -> str:
    """Return the regular expression of a template, with a named group for each field.

    A `{sample}` that is the first part of a path also stands for folders in folders. A template
    without the ending of an image stands for PNG and TIFF.

    Args:
        template: as the module describes.
        channel: regular expression of a channel's word.

    Raises:
        SettingsError: a field is unknown, `{cell}` is missing, or nothing separates two fields.
    """
    words = {"cell": "[^/]+?", "channel": channel, "sample": "[^/]+?"}
    if template.startswith("{sample}/"):
        words["sample"] = ".+?"
    regex, seen, previous = "", set[str](), ""
    for token in _TOKEN.finditer(template):
        text, field = token[0], token["field"]
        if text in ("{", "}"):
            raise SettingsError(f"--pattern '{template}' has a single '{text}': write '{text * 2}'")
        if field is None and not text.startswith("*"):
            regex += re.escape({"{{": "{", "}}": "}"}.get(text, text))
            previous = ""
            continue
        if previous:
            raise SettingsError(
                f"--pattern '{template}' has nothing between '{previous}' and '{text}', so that"
                " one does not know where the first ends; use a regular expression"
            )
        previous = text
        if field is None:
            regex += "[^/]*?"
        elif field not in words:
            raise SettingsError(
                f"--pattern has an unknown field '{text}'; known are {{cell}}, {{channel}} and"
                " {sample}"
            )
        elif field in seen:
            regex += f"(?P={field})"
        else:
            regex += f"(?P<{field}>{words[field]})"
            seen.add(field)
    if "cell" not in seen:
        raise SettingsError(
            "--pattern needs {cell}, such as '{cell}_{channel}.png'; a regular expression needs a"
            r" group named cell, such as (?P<cell>\d+)_BF\.png"
        )
    return regex if _ENDING.search(template) else regex + _ANY_IMAGE


def template_of(text: str) -> str:
    """Return literal text as it is written in a template."""
    return text.replace("{", "{{").replace("}", "}}")
