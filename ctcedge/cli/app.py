"""The entry point of the command line: prepares the process and maps errors to exit codes."""

from __future__ import annotations

import gc
import os
import sys
from typing import NoReturn

from ctcedge import environment, streams
from ctcedge.cli.exit_codes import EXIT_CRASH, EXIT_SETUP
from ctcedge.dependencies import damaged_package, outdated_package
from ctcedge.errors import SetupError
from ctcedge.fs.problems import unexpected_problem

_GC_THRESHOLD = 10_000  # with Python's 700, the imports alone take 40 ms longer


def main() -> NoReturn:
    """Run the command line and exit with the documented code."""
    gc.set_threshold(_GC_THRESHOLD)
    environment.prepare()
    # All matrices here are small: the threads of NumPy's OpenBLAS cost more than they gain.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    streams.prepare()
    try:
        _run()
        code: int | str | None = 0
    except SystemExit as end:
        code = end.code
    except SetupError as error:
        _print_error(str(error))
        code = EXIT_SETUP
    except Exception as error:
        problem = damaged_package(error) or unexpected_problem(error) or outdated_package()
        if problem:
            _print_error(problem)
            code = EXIT_SETUP
        else:
            from ctcedge import log

            with log.to_stderr("text"):
                log.crash(error)
            code = EXIT_CRASH
    streams.flush()
    if (failure := streams.output_failure()) and code != EXIT_SETUP:
        _print_warning(
            f"Standard output cannot be written ({failure.strerror}): what was printed there is"
            " incomplete"
        )
    streams.flush()
    sys.exit(code)


def _run() -> None:
    from ctcedge.cli.commands import app

    app(prog_name="ctcedge", complete_var="_CTCEDGE_COMPLETE")


def _print_error(text: str) -> None:
    try:
        from ctcedge.cli.console import print_error
    except Exception:  # Rich may be what is damaged
        print(f"Error: {text}", file=sys.stderr)
    else:
        print_error(text)


def _print_warning(text: str) -> None:
    from ctcedge.cli.console import print_warning

    print_warning(text)
