"""The report of a folder: one HTML page on which a person views and reviews the cells.

The page saves reviews as `ctcedge/corrections/1`, see `sidecars/schemas/corrections-1.json`;
`ctcedge review import` reads that file.
"""

from ctcedge.report.build import REPORT_NAME, write_report, write_run_report

__all__ = ["REPORT_NAME", "write_report", "write_run_report"]
