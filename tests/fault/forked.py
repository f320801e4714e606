"""The process that is forked for each command; see `tests.fault.calls`."""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import pkgutil
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

_POLL_S = 0.002


def _import_everything() -> None:
    import ctcedge

    for module in pkgutil.walk_packages(ctcedge.__path__, "ctcedge."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name in ("cv2", "numpy", "onnxruntime", "rich.progress", "pyarrow.parquet"):
        importlib.import_module(name)
    _use_once()
    from ctcedge.service import watcher
    from ctcedge.sidecars import index

    # Every crop is recorded in the index, and a watch tries again soon.
    index.TIMESTAMP_GRANULARITY, index.MIN_WRITE = 0.0, 1
    watcher._WRITE_RETRY_S = watcher._DECODE_RETRY_S = 0.05


def _use_once() -> None:
    """Import what the command line imports when it is used."""
    from ctcedge.cli.app import main

    sys.argv = ["ctcedge", "inspect", "/nonexistent", "--json"]
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
        with contextlib.suppress(SystemExit):
            main()


def _command(words: list[str], folder: Path) -> int:
    """Run a command in this process, and return its exit code."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, name in ((1, "output"), (2, "errors")):
        os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    sys.argv = ["ctcedge", *words]
    from ctcedge.cli.app import main

    try:
        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
        code = 1
    for thread in threading.enumerate():  # as the interpreter does at its end
        if thread is not threading.main_thread() and not thread.daemon:
            thread.join()
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def _wait(pid: int, timeout: float) -> dict[str, Any]:
    end = time.monotonic() + timeout
    overdue = False
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return {"code": os.waitstatus_to_exitcode(status), "overdue": overdue}
        if time.monotonic() > end:
            os.kill(pid, signal.SIGKILL)
            overdue = True
        time.sleep(_POLL_S)


def _serve() -> None:
    answers = os.fdopen(os.dup(1), "w")

    def answer(message: dict[str, Any]) -> None:
        print(json.dumps(message), file=answers, flush=True)

    _import_everything()
    gc.collect()
    gc.freeze()  # a fork's collections would copy every page
    answer({"ready": 1})
    while line := sys.stdin.readline():
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            os._exit(_command(request["words"], Path(request["folder"])))
        answer({"pid": pid})
        answer(_wait(pid, json.loads(sys.stdin.readline())["timeout"]))


if __name__ == "__main__":
    _serve()
