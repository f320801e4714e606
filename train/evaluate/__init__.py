"""What a model folder is worth on labelled cells.

bootstrap    intervals: whole patients or samples drawn anew
scores       what models' probabilities say of cells
calls        the runtime's calls: what goes to a person, and why
statistics   figures as functions of how often each cell counts
figures      every figure with its meaning and interval
scoring      cells through the runtime's own code, each by a model that never saw its sample
evaluation   from a model folder and manifests to all that the report tells
report       report.json, report.md and scores.csv
charts, gallery, page    report.html
"""

from pathlib import Path

from .evaluation import Evaluation, evaluate
from .figures import Figures, figures
from .page import write_page
from .report import write_report
from .scores import Scores

__all__ = ["Evaluation", "Figures", "Scores", "evaluate", "figures", "write"]


def write(evaluation: Evaluation, folder: Path) -> None:
    """Write report.json, report.md, report.html and scores.csv, replacing an earlier report."""
    folder.mkdir(parents=True, exist_ok=True)
    write_report(evaluation, folder)
    write_page(evaluation, folder / "report.html")
