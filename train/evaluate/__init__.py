"""`train evaluate`: measure a model folder on labelled cells.

bootstrap    intervals by resampling whole patients or samples
scores       probabilities of cells compared with a model's thresholds
calls        the runtime's calls and its reasons for review
statistics   figures as functions of the weights of the cells
figures      every figure with its meaning and interval
scoring      cells through the runtime's code, each by a model not trained on its sample
evaluation   a whole evaluation, from a model folder and manifests
tables       text and tables of the report
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
