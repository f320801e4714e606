"""Changes that keep enough of a file's structure to get past the first check."""

from __future__ import annotations

import io
import random
import struct
import zipfile
import zlib
from collections.abc import Callable

import numpy as np
import onnx

from tests.fuzz import metadata_mutate, seeds, text_mutate
from tests.fuzz.mutate_json import changed_bytes, changed_json
from tests.helpers.image_builder import png_chunk

_NUMBERS = (
    *(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 15, 16, 17, 24, 32, 64, 127, 128, 255, 256, 257),
    *(4096, 8192, 32773, 32767, 32768, 65535, 65536, 2**24, 2**31 - 1, 2**31, 2**32 - 1),
    *(2**32, 2**62, 2**63 - 1, 2**63, 2**64 - 1),
)


def png(rng: random.Random) -> bytes:
    """Change chunks and keep their checksums right, mostly."""
    data = rng.choice(seeds.png())
    chunks = []
    position = 8
    while position < len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        chunks.append([kind, data[position + 8 : position + 8 + length]])
        position += 12 + length
    for _ in range(rng.choice((1, 1, 2, 3))):
        _change_chunks(chunks, rng)
    made = data[:8] + b"".join(png_chunk(kind, content) for kind, content in chunks)
    return changed_bytes(made, rng) if rng.random() < 0.15 else made


_CHUNK_KINDS = (
    *(b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"acTL", b"fcTL", b"gAMA", b"iCCP", b"sBIT"),
    *(b"tEXt", b"zTXt", b"iTXt", b"tIME", b"pHYs", b"bKGD", b"hIST", b"eXIf", b"sPLT", b"cHRM"),
    *(b"abcD", b"ABCD", b"\0\0\0\0"),
)


def _change_chunks(chunks: list[list[bytes]], rng: random.Random) -> None:
    place = rng.randrange(len(chunks)) if chunks else 0
    match rng.randrange(9):
        case 0:
            field, value = rng.randrange(7), rng.choice(_NUMBERS)
            layout = ">IIBBBBB"
            for chunk in chunks:
                if chunk[0] == b"IHDR" and len(chunk[1]) == 13:
                    values = list(struct.unpack(layout, chunk[1]))
                    values[field] = value % (2**32 if field < 2 else rng.choice((5, 17, 256)))
                    chunk[1] = struct.pack(layout, *values)
        case 1 | 2:
            for chunk in chunks:
                if chunk[0] == b"IDAT":
                    chunk[1] = _changed_rows(chunk[1], rng)
        case 3:
            kind = rng.choice(_CHUNK_KINDS)
            length = rng.choice((0, 1, 2, 3, 6, 9, 256, 768, 771))
            chunks.insert(place, [kind, rng.randbytes(length)])
        case 8:
            chunks.insert(min(1, len(chunks)), list(metadata_mutate.png_chunk_content(rng)))
        case 4 if chunks:
            chunks[place][1] = changed_bytes(chunks[place][1], rng)
        case 5 if chunks:
            del chunks[place]
        case 6 if chunks:
            chunks.insert(rng.randrange(len(chunks)), list(chunks[place]))
        case _ if chunks:
            kind, content = chunks[place]
            cut = rng.randrange(len(content) + 1)
            chunks[place : place + 1] = [[kind, content[:cut]], [kind, content[cut:]]]


def _changed_rows(compressed: bytes, rng: random.Random) -> bytes:
    try:
        rows = zlib.decompress(compressed)
    except zlib.error:
        return changed_bytes(compressed, rng)
    packed = zlib.compress(changed_bytes(rows, rng), rng.choice((0, 1, 9)))
    return packed if rng.random() < 0.7 else packed[: rng.randrange(len(packed) + 1)]


def tiff(rng: random.Random) -> bytes:
    """Change entries of the directory in place, and sometimes bytes anywhere."""
    if rng.random() < 0.3:
        return metadata_mutate.tiff(rng)
    data = bytearray(rng.choice(seeds.tiff()))
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3))):
        _change_entry(data, rng)
    made = bytes(data)
    if rng.random() < 0.2:
        place = rng.randrange(len(made))
        made = made[:place] + bytes(len(made) - place)
    return changed_bytes(made, rng) if rng.random() < 0.3 else made


_TIFF_TAGS = (254, 256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 282, 284, 317, 320)
_TIFF_TAGS += (322, 323, 324, 325, 330, 338, 339, 340, 347, 512, 513, 529, 530, 532, 700, 34675)
_COMPRESSIONS = (1, 2, 3, 4, 5, 6, 7, 8, 32766, 32771, 32773, 32809, 32946, 34676, 34712, 34887)
_COMPRESSIONS += (34925, 50000, 50001)


def _change_entry(data: bytearray, rng: random.Random) -> None:
    order = "<" if data[:2] == b"II" else ">"
    big = data[2:4] in (b"+\0", b"\0+")
    word, number, size = ("Q", "Q", 20) if big else ("I", "H", 12)
    room = 2 ** (64 if big else 32)
    try:
        (start,) = struct.unpack_from(order + word, data, 8 if big else 4)
        (entries,) = struct.unpack_from(order + number, data, start)
        first = start + struct.calcsize(number)
        place = first + size * rng.randrange(min(entries, 64))
        value = rng.choice(_NUMBERS) % room
        value_at = place + 4 + struct.calcsize("<" + word)
        match rng.randrange(9):
            case 0:
                struct.pack_into(order + "H", data, place, rng.choice(_TIFF_TAGS))
            case 1:
                struct.pack_into(order + "H", data, place + 2, rng.randrange(20))
            case 2:
                struct.pack_into(order + word, data, place + 4, value)
            case 3 | 4:
                struct.pack_into(order + word, data, value_at, value)
            case 5:
                struct.pack_into(order + "H", data, value_at, value % 65536)
            case 6:
                (target,) = struct.unpack_from(order + word, data, value_at)
                struct.pack_into(order + "I", data, target, value % 2**32)
            case 7:
                for entry in range(first, first + size * entries, size):
                    if struct.unpack_from(order + "H", data, entry) == (259,):
                        at = entry + value_at - place
                        struct.pack_into(order + "H", data, at, rng.choice(_COMPRESSIONS))
            case _:
                where = rng.choice((start, first + size * entries, 8 if big else 4))
                struct.pack_into(order + rng.choice("HI"), data, where, value % 65536)
    except (struct.error, ValueError, IndexError, OverflowError):
        pass


def sidecar(rng: random.Random) -> bytes:
    return changed_json(rng.choice(seeds.sidecar()), rng)


def model(rng: random.Random) -> bytes:
    return changed_json(seeds.model_files()["model.json"], rng)


_TOML_VALUES = (
    *("0", "-1", "1e400", "nan", "-inf", "9" * 5000, "0x" + "f" * 400, "true", "''", "'x'", "[]"),
    *(
        "{}",
        "2026-01-02T03:04:05Z",
        "2026-13-02",
        '"\\ud800"',
        '"\\u0000"',
        "'a\tb'",
        '"""',
        "[[]]",
    ),
    *("[" * 2000 + "]" * 2000, "{a=" * 500 + "1" + "}" * 500, "['BF', 'bf', 'b_f']", "[1, 'x']"),
    *("'(?P<cell>'", "'(?P<cell>.*)'", "'(?P<cell>x{99999999999})'", "'(?P<cell>[[a])'"),
    *("'(?P<cell>(?P<cell>x))'", "'" + "(" * 500 + "'", "'(?P<cell>\\d)(?(2)a|b)'", "'(?P<x>.)'"),
    *("'(?P<cell>(?i)x)'", "'(?P<cell>\\Q)'", "'(?P<cell>x)/(?P<sample>.*)'", "'(?L)(?P<cell>x)'"),
    *("'(?P<cell>(?P<channel>.))(?P<sample>.)?.*'", "'(?P<cell>[\\w--\\d])'", "0.5", "19.9", "64"),
    *(
        "0,5",
        "'0,5'",
        "“x”",
        '"\\b(?P<cell>x)"',
        '"D:\\temp"',
        "1_5",
        "0.5 µm",
        "\u00a01",
        "['é', 'e\u0301']",
    ),
)
_TOML_LINES = (
    *("[images]", "[watch]", "[[images]]", "[images.channels]", "[a" + ".a" * 500 + "]", "x = 1"),
    *("images = 1", "a" + ".a" * 2000 + " = 1", "channels.BF = []", "channels.'' = ['']", "= 1"),
    *("'\\x00' = 1", "provider = 'tensorrt'", "# \ud800", "\ufeff", "out = '\\u0000'"),
)


def settings(rng: random.Random) -> bytes:
    lines = rng.choice(seeds.settings()).decode().splitlines()
    for _ in range(rng.choice((1, 1, 2, 4))):
        place = rng.randrange(len(lines) + 1)
        if place < len(lines) and "=" in lines[place] and rng.random() < 0.6:
            lines[place] = lines[place].partition("=")[0] + "= " + rng.choice(_TOML_VALUES)
        elif place < len(lines) and rng.random() < 0.4:
            lines[place : place + 1] = [lines[place]] * rng.choice((0, 2))
        else:
            lines.insert(place, rng.choice(_TOML_LINES))
    if rng.random() < 0.2:
        return text_mutate.encoded("\n".join(lines), rng)
    made = "\n".join(lines).encode("utf-8", "surrogatepass")
    return changed_bytes(made, rng) if rng.random() < 0.3 else made


def golden(rng: random.Random) -> bytes:
    sound = seeds.model_files()["golden.npz"]
    if rng.random() < 0.4:
        return changed_bytes(sound, rng)
    with zipfile.ZipFile(io.BytesIO(sound)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = rng.choice(list(members))
    match rng.randrange(6):
        case 0:
            del members[name]
        case 1:
            kinds = ("f4", "c16", "U4", "M8[s]", "O", "i1", "u2", "S1", "f2", "V8", "u1")
            shape = rng.choice(((), (0,), (3,), (2,), (3, 64, 64), (3, 1, 1), (1, 8, 2)))
            values = np.zeros(shape, rng.choice(kinds))
            values = values.astype(np.uint8) if values.dtype == object else values
            stored = io.BytesIO()
            np.save(stored, values)
            members[name] = stored.getvalue()
        case 2 | 3:
            head = members[name]
            old = rng.choice((b"3,", b"64", b"<f8", b"|u1", b"False", b"(", b"}", b"'"))
            new = rng.choice((b"99999999999,", b"-1", b"|O", b"True", b"[", b"", b"<M8", b"0"))
            members[name] = head.replace(old, new, 1)
        case 4:
            members[rng.choice(("x", "probability_", "../x.npy", "crops"))] = members[name]
        case _:
            members[name] = changed_bytes(members[name], rng)
    packed = io.BytesIO()
    kind = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA))
    with zipfile.ZipFile(packed, "w", kind) as archive:
        for member, content in members.items():
            archive.writestr(member, content)
    made = packed.getvalue()
    return changed_bytes(made, rng) if rng.random() < 0.2 else made


def graph(rng: random.Random) -> bytes:
    sound = seeds.model_files()["model.int8.onnx"]
    if rng.random() < 0.4:
        return changed_bytes(sound, rng)
    made = onnx.load_from_string(sound)
    for _ in range(rng.choice((1, 1, 2))):
        _change_graph(made, rng)
    data: bytes = made.SerializeToString()
    return data


def _change_graph(made: onnx.ModelProto, rng: random.Random) -> None:
    node = rng.choice(made.graph.node)
    tensor = rng.choice(made.graph.initializer)
    signed = rng.choice((-(2**63), -1, 0, 1, 2, 3, 7, 2**31, 2**40, 2**63 - 1))
    small = signed % 2**31
    match rng.randrange(12):
        case 0:
            operators = ("Loop", "If", "Scan", "Reshape", "Resize", "Gather", "Conv", "MatMul")
            operators += ("ConstantOfShape", "Expand", "Tile", "Pad", "Range", "TopK", "NonZero")
            node.op_type = rng.choice((*operators, "", "x" * 9999))
        case 1 if node.input:
            names = [name for other in made.graph.node for name in (*other.input, *other.output)]
            node.input[rng.randrange(len(node.input))] = rng.choice((*names, "", "nothing"))
        case 2:
            node.output[0] = rng.choice([other.output[0] for other in made.graph.node])
        case 3 if node.attribute:
            attribute = rng.choice(node.attribute)
            attribute.i = signed
            attribute.ints[:] = [signed] * rng.choice((0, 1, 4, 1000))
            attribute.type = rng.choice((1, 2, 3, 4, 5, 6, 7))
        case 4:
            tensor.dims[:] = [rng.choice((signed, 1, 3))] * rng.randrange(6)
        case 5:
            tensor.data_type = rng.randrange(24)
        case 6:
            tensor.raw_data = rng.randbytes(rng.choice((0, 1, 4, 24, 999)))
        case 7:
            made.opset_import[0].version = small
        case 8:
            made.ir_version = small
        case 9:
            place = rng.choice((*made.graph.input, *made.graph.output))
            dimension = rng.choice(place.type.tensor_type.shape.dim)
            dimension.dim_value = signed
        case 10:
            node.attribute.append(onnx.helper.make_attribute("axes", [signed] * 3))
            node.domain = rng.choice(("", "com.microsoft", "x"))
        case _:
            made.graph.node.append(made.graph.node[0])


TARGETS: dict[str, tuple[int, Callable[[random.Random], bytes]]] = {
    "png": (24, png),
    "tiff": (30, tiff),
    "sidecar": (9, sidecar),
    "settings": (9, settings),
    "table": (8, text_mutate.table),
    "corrections": (6, text_mutate.corrections),
    "controls": (3, text_mutate.controls),
    "pattern": (2, text_mutate.pattern),
    "model": (4, model),
    "golden": (3, golden),
    "graph": (2, graph),
}
"""By name: share of the inputs in percent, and what makes one."""


def make(seed: int, index: int) -> tuple[str, bytes]:
    """The input of this number: the target's name and the bytes."""
    own = random.Random(f"{seed}/{index}")
    names = list(TARGETS)
    (name,) = own.choices(names, [TARGETS[name][0] for name in names])
    return name, TARGETS[name][1](own)
