"""Cutting of cells while a folder is watched: when a scan is due, and what it leaves out."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable

from ctcedge.discovery.naming import Crop, Found, folder_name
from ctcedge.errors import OutputError, SetupError
from ctcedge.pipeline.run import Run
from ctcedge.service.progress import Progress
from ctcedge.sources.cutter import Cutter
from ctcedge.sources.parameters import ParameterFiles


class CellCutting:
    """Cuts the cells of files of many pages, and of an index table, as they arrive.

    Args:
        cutter: None where nothing is cut.
        run: the opened folder.
        progress: has the problem of cells that cannot be cut.
        clock: monotonic clock, seconds.

    Attributes:
        due: when a scan is due for a file that may hold cells; infinity where none is.
    """

    def __init__(
        self, cutter: Cutter | None, run: Run, progress: Progress, clock: Callable[[], float]
    ) -> None:
        self.due = math.inf
        self._cutter = cutter
        self._naming = run.naming
        self._folder_name = folder_name(run.folder)
        self._delay = run.settings.watch.stability_delay
        self._progress = progress
        self._clock = clock
        self._parameters = ParameterFiles(run.folder, run.sidecars.root)

    @property
    def waiting(self) -> Collection[str]:
        """Files that may still be written."""
        return () if self._cutter is None else self._cutter.waiting

    def announce(self, path: str) -> None:
        """Take the path of a file that is no crop and changed."""
        if self._cutter is not None and (self._cutter.by_table or self._may_have_pages(path)):
            self.due = self._clock() + self._delay

    def cut_table(self) -> None:
        """Begin a scan, and cut the cells of the index table."""
        self.due = math.inf
        if (cutter := self._cutter) is not None:
            self._try(lambda min_age: cutter.cut_table(min_age=min_age))

    def cut_files(self, entries: Iterable[Found]) -> bool:
        """Cut the files of many pages among entries of a scan; return whether any were new."""
        cutter = self._cutter
        if cutter is None:
            return False
        return self._try(lambda min_age: cutter.cut_files(entries, min_age=min_age)) > 0

    def look_for_parameters(self, entries: Iterable[Found]) -> None:
        """Log and keep what files `Parameters.txt` among entries of a scan say."""
        try:
            self._parameters.look(entries)
        except OutputError as error:
            self._progress.set_problem("parameters", str(error))
        else:
            self._progress.set_problem("parameters", None)

    def without_pages(self, crops: list[Crop]) -> list[Crop]:
        """Leave out files of many pages, whose channels are cut instead."""
        cutter = self._cutter
        if cutter is None:
            return crops
        candidates = [crop for crop in crops if not crop.root and self._may_have_pages(crop.path)]
        if not candidates:
            return crops
        self._try(lambda min_age: cutter.cut_files(candidates))
        cut = {crop.path for crop in candidates if cutter.is_cut(crop.path)}
        if cut:
            self.due = self._clock()
        return [crop for crop in crops if crop.path not in cut]

    def _may_have_pages(self, path: str) -> bool:
        return self._naming.file_of_pages(path, self._folder_name) is not None

    def _try(self, cut: Callable[[float], int]) -> int:
        try:
            written = cut(self._delay)
        except SetupError as error:  # for instance of a table that is being written
            self._progress.set_problem("cut", str(error))
            return 0
        if self.waiting:
            self.due = min(self.due, self._clock() + self._delay)
        text, problems = None, {} if self._cutter is None else self._cutter.problems
        if problems:
            name, reason = next(iter(problems.items()))
            text = f"cells that cannot be cut: {len(problems):,}, such as {name}: {reason}"
        self._progress.set_problem("cut", text)
        return written
