"""The report of a folder: one HTML file in which a person looks at the cells and reviews them.

What the page saves is `ctcedge/corrections/1`, see `ctcedge/sidecars/schemas/corrections-1.json`,
which
`ctcedge review import` reads.
"""

from ctcedge.report.build import REPORT_NAME, write_report

__all__ = ["REPORT_NAME", "write_report"]
