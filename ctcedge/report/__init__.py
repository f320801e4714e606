"""The report of a folder: one HTML file in which a person looks at the cells and reviews them.

What the page saves is `ctcedge/corrections/1`, see `ctcedge/schemas/corrections-1.json`, which
`ctcedge review import` reads.
"""

from ctcedge.report.write import write_report

__all__ = ["write_report"]
