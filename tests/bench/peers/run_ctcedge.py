"""`ctcedge classify` from Python: `run_ctcedge.py CROPS MODEL OUT`, OUT a new folder."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

from steady import report

import ctcedge

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # as the command does


def classified(folder: str, model: str, out: str) -> Iterator[int]:
    for outcome in ctcedge.classify_folder(folder, model=model, out=out, provider="cpu"):
        if outcome.done != "written" or outcome.error is not None:
            raise RuntimeError(f"{outcome.crop.path}: {outcome.done}, {outcome.error}")
        yield 1


def main() -> None:
    import onnxruntime  # now, as it loads NumPy

    folder, model, out = sys.argv[1:]
    report(
        classified(folder, model, out),
        versions=f"ctcedge {ctcedge.__version__}, ONNX Runtime {onnxruntime.__version__}",
    )


if __name__ == "__main__":
    main()
