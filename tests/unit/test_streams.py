from __future__ import annotations

import os
import subprocess
import sys
import threading


def python(code: str, **options: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", code], **options)  # type: ignore[call-overload,no-any-return]


def test_a_pipe_that_does_not_block_loses_nothing() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    code = "from ctcedge import streams; streams.prepare(); print('x' * 1_000_000)"
    process = python(code, stdout=writing)
    os.close(writing)
    read: list[bytes] = []

    def read_all() -> None:
        with open(reading, "rb") as file:
            read.append(file.read())

    reader = threading.Thread(target=read_all)
    reader.start()
    assert process.wait(60) == 0
    reader.join(60)
    assert len(read[0]) == 1_000_001


def test_a_closed_stream_does_not_lead_into_a_file() -> None:
    code = (
        "import os, tempfile\n"
        "from ctcedge import streams\n"
        "streams.prepare()\n"
        "with tempfile.TemporaryFile() as file:\n"
        "    print('lost', flush=True)\n"
        "    os.system('echo lost too')\n"
        "    assert file.fileno() > 2 and os.fstat(file.fileno()).st_size == 0\n"
    )
    line = f'exec {sys.executable} -c "$CODE" <&- >&- 2>&-'
    done = subprocess.run(["/bin/bash", "-c", line], env={**os.environ, "CODE": code}, timeout=60)
    assert done.returncode == 0
