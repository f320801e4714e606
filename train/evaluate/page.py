"""report.html: one self-contained file with curves and galleries."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ctcedge.fs.files import atomic_write

from .charts import charts
from .evaluation import Evaluation
from .gallery import galleries
from .tables import EXPLANATIONS, NOTICES, UNKNOWN, format_estimate, summary, tables, title

_HEADLINE = {
    "auc": "AUC",
    "sample_auc": "AUC over samples",
    "macro_f1_70": "Macro F1 of the 70\N{NO-BREAK SPACE}% most certain",
    "calibration_slope": "Calibration slope",
    "ece": "Calibration error (ECE)",
    "false_calls_per_10000": "False positives per 10,000",
}


def write_page(evaluation: Evaluation, path: Path) -> None:
    """Write the page; every name on it is escaped."""
    measured, review = evaluation.figures, evaluation.calls.by_call["review"]
    headline = [(text, format_estimate(name, measured[name])) for name, text in _HEADLINE.items()]
    headline += [
        ("CTCs flagged for review", format_estimate("share", review.ctcs_fraction)),
        ("Negatives flagged for review", format_estimate("share", review.negatives_fraction)),
    ]
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("page.html").render(
        title=title(evaluation),
        notices=NOTICES,
        warnings=evaluation.warnings,
        summary=summary(evaluation),
        headline=headline,
        unknown=UNKNOWN,
        charts=charts(evaluation),
        tables=tables(evaluation),
        baselines=bool(measured.baselines),
        galleries=galleries(evaluation.scored),
        explanations=EXPLANATIONS,
        models=evaluation.models,
        manifests=evaluation.manifests,
    )
    atomic_write(path, page.encode())
