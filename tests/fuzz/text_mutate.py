"""Changes of text files as people, editors and spreadsheets make them, and worse ones."""

from __future__ import annotations

import codecs
import json
import random
import unicodedata

from tests.fuzz import text_seeds
from tests.fuzz.mutate_json import changed_bytes, changed_json

_ENCODINGS = (
    *("utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"),
    *("utf-32", "utf-32-le", "cp1252", "cp437", "mac-roman", "utf-7", "cp037"),
)
_MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_LE)
_VALUES = (
    *("", " ", "S", "1", "001", "CTC", "other", "0.5", "0,5", "1.000,5", "1_5", "nan", "1e999"),
    *("a.png", "../a.png", "/etc/passwd", "x" * 5000, "\0", "\ufeff", "\u00a0", "é", "e\u0301"),
    *('"', "'", '"a', 'a"b', '""', "a\nb", "a\rb", "\x1a", "=1+1", "sep=;", "-", "٣", "𝟓", "\x85"),
    *("\u2028", "line\x0bbreak", "CTC?", "CTC,", ";", "\t", "|", "a/b", ".", "\ud800"),
)
_HEADINGS = ("sample", " Sample ", "CELL", "label", "Label\u00a0", "BF", "bf", "patient", "", "x")
_FRAGMENTS = (
    *(r"(?P<cell>\d+)", r"(?P<cell>.*)", r"(?P<sample>[^/]+)/", r"(?P<channel>\w+)", r"(?P<cell>)"),
    *(r"\d{1,3}", r"[a-z]*", r"(?:a|ab)?", r"\.png", r"\.tiff?", "_", "/", "(?i)", "(?x) ", "(?a)"),
    *(r"\b", r"(?=x)", r"(?<!x)", r"(?<=\d)", r"(?P=cell)", r"\1", r"(?(1)a|b)", r"(?>a)", "a++"),
    *("{", "}", "[", "]", "(", ")", "|", "*", "+", "?", "\\", "^", "$", "é", "\ud800", "\0", "(?#"),
    *("{99999999999}", "{1,60000}", "[[a]--b]", r"\N{DIGIT ONE}", r"\x", r"\u12", "(?P<1>x)"),
)
_SLOW = (r"(a+)+", r"(?:a|a)*", r"(.*)*", r"(?:\w+\s?)+")
_NAMES = ("1_BF.png", "S/run1/00034_BF.tif", "a" * 40 + "_BF.png", "", "é\n_BF.png", "\udcff.png")


def encoded(text: str, rng: random.Random) -> bytes:
    """Return the bytes of a text as some program saves it."""
    text = text.replace("\n", rng.choice(("\n", "\n", "\r\n", "\r", "\n\r", "\x0b")))
    if rng.random() < 0.1:
        text = unicodedata.normalize(rng.choice(("NFC", "NFD", "NFKD")), text)
    encoding = rng.choice(_ENCODINGS)
    errors = "surrogatepass" if encoding.startswith("utf-") and encoding != "utf-7" else "replace"
    made = text.encode(encoding, errors)
    if rng.random() < 0.05:
        made = rng.choice(_MARKS) + made
    return changed_bytes(made, rng) if rng.random() < 0.2 else made


def table(rng: random.Random) -> bytes:
    """Change lines, values, delimiters and quotation marks of a table."""
    lines = rng.choice(text_seeds.table()).decode().splitlines()
    for _ in range(rng.choice((0, 1, 1, 2, 4))):
        place = rng.randrange(len(lines))
        delimiter = next((mark for mark in ";\t|" if mark in lines[place]), ",")
        values = lines[place].split(delimiter)
        match rng.randrange(9):
            case 0:
                values[rng.randrange(len(values))] = rng.choice(_VALUES)
            case 1:
                values[rng.randrange(len(values))] = rng.choice(_HEADINGS if not place else _VALUES)
            case 2:
                values = values[: rng.randrange(len(values) + 1)]
            case 3:
                values.insert(rng.randrange(len(values) + 1), rng.choice(_VALUES))
            case 4:
                mark = rng.choice("\"'")
                values = [f"{mark}{value}{mark}" for value in values]
            case 5:
                delimiter = rng.choice(",;\t| :")
            case 6:
                delimiter += " "
            case 7:
                values += [""] * rng.choice((1, 3, 100))
            case _:
                lines[place:place] = [rng.choice((lines[place], "", ",,", ";", "sep=,", "SEP=\t"))]
        lines[place] = delimiter.join(values)
    if rng.random() < 0.2:
        old, new = rng.choice(",;\t"), rng.choice(",;\t|")
        lines = [line.replace(old, new) for line in lines]
    return encoded("\n".join((*lines, ""))[: rng.choice((-1, 10**6))], rng)


def corrections(rng: random.Random) -> bytes:
    return _json(rng.choice(text_seeds.corrections()), rng)


def controls(rng: random.Random) -> bytes:
    return _json(rng.choice(text_seeds.controls()), rng)


def pattern(rng: random.Random) -> bytes:
    """Put a pattern together, seldom a slow one, with names to match."""
    pieces = [rng.choice(_FRAGMENTS) for _ in range(rng.choice((1, 2, 3, 5, 8)))]
    if rng.random() < 0.02:
        pieces.insert(rng.randrange(len(pieces)), rng.choice(_SLOW))
    if rng.random() < 0.05:
        pieces *= rng.choice((10, 60, 400))
    names = rng.sample(_NAMES, 3)
    return json.dumps({"pattern": "".join(pieces), "names": names}).encode()


def _json(data: bytes, rng: random.Random) -> bytes:
    if rng.random() < 0.6:
        return changed_json(data, rng)
    text = json.dumps(json.loads(data), ensure_ascii=False, indent=rng.choice((None, 1)))
    for old, new in (('"', "“"), (".", ","), (":", " :"), (",", ",,"), ("e", "é")):
        if rng.random() < 0.1:
            text = text.replace(old, new, rng.choice((1, 99)))
    return encoded(text, rng)
