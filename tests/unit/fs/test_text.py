from __future__ import annotations

import codecs
import json
import unicodedata
from collections.abc import Callable

import pytest

from ctcedge.fs.text import TextError, decode_text, line_of_key, load_json, load_toml, same_form

TEXT = 'a = "Müller, µm"\r\nb = 2\r\n'
ENCODINGS: dict[str, Callable[[str], bytes]] = {
    "UTF-8": lambda text: text.encode(),
    "UTF-8 with a mark": lambda text: text.encode("utf-8-sig"),
    "UTF-16 LE with a mark": lambda text: codecs.BOM_UTF16_LE + text.encode("utf-16-le"),
    "UTF-16 BE with a mark": lambda text: codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
    "UTF-16 LE": lambda text: text.encode("utf-16-le"),
    "UTF-16 BE": lambda text: text.encode("utf-16-be"),
    "UTF-32 LE with a mark": lambda text: codecs.BOM_UTF32_LE + text.encode("utf-32-le"),
    "UTF-32 BE with a mark": lambda text: codecs.BOM_UTF32_BE + text.encode("utf-32-be"),
    "UTF-8 with the end of DOS": lambda text: text.encode() + b"\x1a",
}


@pytest.mark.parametrize("encode", ENCODINGS.values(), ids=ENCODINGS)
def test_encodings_that_can_be_told_apart_are_read(encode: Callable[[str], bytes]) -> None:
    assert decode_text(encode(TEXT)) == TEXT
    assert load_toml(encode(TEXT))[0] == {"a": "Müller, µm", "b": 2}
    assert load_toml(encode(TEXT.replace("\r\n", "\r")))[0] == {"a": "Müller, µm", "b": 2}
    content = {"a": ["Müller", 0.5]}
    text = json.dumps(content, ensure_ascii=False, indent=1)
    assert load_json(encode(text)) == content
    assert load_json(encode(text.replace("\n", "\r"))) == content


REFUSED = {
    "Windows-1252": ("a = 1\nb = 'Müller'\n".encode("cp1252"), "line 2 is not UTF-8 .*'Müller'"),
    "Latin-1, CR only": ("a\rb\rµm".encode("latin-1"), "line 3 is not UTF-8 .*µm.*as UTF-8"),
    "not even Windows-1252": (b"a\n\x81", "line 2 is not UTF-8; save"),
    "cut in a character": ("aü".encode()[:-1], "line 1 is not UTF-8"),
    "UTF-16, odd": ("a = 1".encode("utf-16")[:-1], "begins as UTF-16, but is damaged"),
    "UTF-16 without a mark, odd": ("a = 1".encode("utf-16-le")[:-1], "UTF-16.*damaged"),
    "NUL": (b"text\nand a\0NUL", "line 2 holds a NUL"),
    "zeros": (b"\0" * 100, "line 1 holds a NUL"),
    "Excel": (b"PK\x03\x04rest", "Excel workbook.*CSV UTF-8"),
    "old Excel": (b"\xd0\xcf\x11\xe0\xa1", "old Excel"),
    "RTF": (b"{\\rtf1", "rich-text"),
}


@pytest.mark.parametrize(("data", "text"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_text_is_refused_with_line_and_cure(data: bytes, text: str) -> None:
    for read in (decode_text, load_json, load_toml):
        with pytest.raises(TextError, match=text):
            read(data)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[images]\num_per_px = 0,5\n", r"line 2.*um_per_px = 0,5; write numbers with a point"),
        ("a = 1\nb = “x”\n", r"line 2.*typographic quotes"),
        ("a\u00a0= 1\n", "line 1.*no-break space"),
        ('out = "D:\\calls"\n', "line 1.*in single quotes"),
        ("a = 1\ra = 2\r", "line 2|Cannot overwrite"),
        ("a = 0.5 µm", "line 1.*a = 0.5 µm"),
    ],
)
def test_toml_that_is_not_valid_is_named_with_its_line(text: str, message: str) -> None:
    with pytest.raises(TextError, match=f"not valid TOML.*{message}"):
        load_toml(text.encode())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1,\n"b": 0,5}', "line 2.*; write numbers with a point"),
        ('{"a": 1,\n“b”: 2}', "line 2.*typographic quotes"),
        ('{"a": [1,\n', "the file is incomplete"),
        ('{"a": "cut', "the file is incomplete"),
        ("", "it is empty"),
        ('{"a": 1, "a": 2}', "a key twice"),
    ],
)
def test_json_that_is_not_valid_is_named_with_its_line(text: str, message: str) -> None:
    with pytest.raises(TextError, match=message):
        load_json(text.encode())


def test_the_line_of_a_key() -> None:
    text = "[images]\n# um_per_px = 1\num_per_px = 'x'\nchannels.BF = 1\n[watch]\na = 1\nb.a = 2"
    assert line_of_key(text, "images.um_per_px") == 3
    assert line_of_key(text, "images.channels") == line_of_key(text, "BF") == 4
    assert line_of_key(text, "a") is None  # twice
    assert line_of_key(text, "gone") is None


def test_names_that_look_the_same_are_the_same() -> None:
    assert same_form(unicodedata.normalize("NFD", "Müller")) == "Müller"
    assert same_form(" A\u00a0\ufeff") == "A"
    assert same_form("Muller") != same_form("Müller")
