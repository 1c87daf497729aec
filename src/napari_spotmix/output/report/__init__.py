"""The report: one or several results as one self-contained HTML page.

It has no script and loads no font or image, and forbids the browser to load any. The same result gives the
same bytes.
"""

from __future__ import annotations

from napari_spotmix.output.report.joint import joint_report
from napari_spotmix.output.report.single import make_report, write_report

__all__ = ["joint_report", "make_report", "write_report"]
