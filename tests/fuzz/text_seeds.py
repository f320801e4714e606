"""Sound text files of every kind that a person may hand over, for the mutations to start from."""

from __future__ import annotations

import hashlib
import json
from functools import cache

IMAGE = b"the image of the reviewed crop"
LABELS = (
    "sample,cell,label\nMüller,001,CTC\nS,1,leukocyte\n,,\nB,002,\n",
    'Sample;Cell;Label;d\n"A;1";1;CTC;0,5\nS;1;tumour;1,5\n',
    "sep=;\r\ncell;sample;label\r\n1;S;CTC\r\n",
    'sample\tcell\tlabel\tnote\nS\t1\tCTC\t"two\nlines"\nS\t2\tx\n',
    "'sample', 'cell', 'label'\n'S', '1', 'CTC'\n",
    "sample,cell,label,stratum,source,um_per_px,patient,run,BF,DAPI\n"
    'S,1,CTC,x,gated,0.5,P,r,a.png,a.png\nS,2,other,,,"0,5",,,a.png,\n',
    "sample|patient\nS|P1\nMüller|P2\n",
)


@cache
def table() -> tuple[bytes, ...]:
    return tuple(text.encode() for text in LABELS)


@cache
def corrections() -> tuple[bytes, ...]:
    hash_ = hashlib.sha256(IMAGE).hexdigest()
    entry = {
        "path": "S/1_BF.png",
        "sample": "S",
        "cell": "1",
        "image_sha256": hash_,
        "model_sha256": "0" * 64,
        "from": "CTC",
        "call": "CTC",
        "note": "é",
        "time": "2026-01-02T03:04:05.678Z",
        "channels": ["BF", "DAPI"],
        "blinded": True,
        "weight": 9.5,
    }
    later = {**entry, "call": "leukocyte", "time": "2026-01-03T03:04:05Z", "weight": None}
    elsewhere = {**entry, "path": "S/gone_BF.png", "image_sha256": "1" * 64}
    whole = {
        "schema": "ctcedge/corrections/1",
        "report_id": "a" * 64,
        "folder_name": "export",
        "pseudonymised": False,
        "created": "2026-01-02T03:05:00Z",
        "reviewer": "Jörg",
        "draw": {"drawn": 1, "leukocytes": 9},
        "entries": [entry],
    }
    several = {**whole, "pseudonymised": True, "entries": [entry, later, elsewhere, entry]}
    return tuple(json.dumps(content).encode() for content in (whole, several))


@cache
def controls() -> tuple[bytes, ...]:
    control = {
        "sample": "Müller",
        "folder": "/x",
        "added": "2026-01-02T03:04:05.678Z",
        "model": "m 1",
        "rule": {"model_sha256": "0", "operating_point": "balanced", "inference_sha256": None},
        "cells": 3000,
        "ctc_calls": 3,
        "confirmed_ctcs": 1,
    }
    other = {**control, "sample": "B", "cells": 10**9, "ctc_calls": 10**9}
    contents = ([control], [control, other, control], [])
    return tuple(
        json.dumps({"schema": "ctcedge/controls/1", "controls": content}).encode()
        for content in contents
    )


@cache
def pattern() -> tuple[bytes, ...]:
    patterns = (
        r"(?P<cell>\d+)_(?P<channel>\w+)\.png",
        r"(?P<sample>[^/]+)/run\d+/(?P<cell>\d+)_BF\.tiff?",
        r"(?i)(?P<cell>(?:a|b|ab)*)_?(?P<channel>[^_]*)\..+",
    )
    names = ["1_BF.png", "S/run1/00034_BF.tif", "abab_.png", "é\n_BF.png"]
    return tuple(json.dumps({"pattern": text, "names": names}).encode() for text in patterns)
