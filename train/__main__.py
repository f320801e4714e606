"""Entry point of `ctcedge-train`, which is `python -m train` in a clone."""

from __future__ import annotations

import sys
from concurrent.futures.process import BrokenProcessPool

from ctcedge import environment, streams
from ctcedge.dependencies import damaged_package, outdated_package
from ctcedge.fs.problems import unexpected_problem

from .supervise import supervised
from .util import extra


def main() -> None:
    """Run the command line in a child process, whose death by a signal is reported in a line.

    Without the packages that a command needs, it is printed how to install them.
    """
    lacking = extra.missing()
    if lacking and not sys.argv[1:]:
        print(f"Error: {extra.cure(lacking)}", file=sys.stderr)
        sys.exit(2)
    environment.prepare()
    streams.prepare()
    supervised(_run)


def _run() -> None:
    try:
        from .cli import app

        app(complete_var="")
    except BrokenProcessPool:
        print(
            "Error: one of its worker processes died, as when memory runs out; run the same command"
            " again with more free memory",
            file=sys.stderr,
        )
        sys.exit(1)
    except Exception as error:
        if problem := damaged_package(error):
            print(f"Error: {problem}", file=sys.stderr)
            sys.exit(2)
        if problem := unexpected_problem(error) or outdated_package():
            print(f"Error: {problem}", file=sys.stderr)
            sys.exit(2)
        package = (getattr(error, "name", None) or "").partition(".")[0]
        if not isinstance(error, ModuleNotFoundError) or package not in extra.PACKAGES:
            raise
        print(f"Error: {extra.cure(package)}", file=sys.stderr)
        sys.exit(2)
    finally:
        if "--help" in sys.argv and (lacking := extra.missing()):
            streams.flush()
            print(f"note: {extra.cure(lacking)}", file=sys.stderr)
        streams.flush()


if __name__ == "__main__":
    main()
