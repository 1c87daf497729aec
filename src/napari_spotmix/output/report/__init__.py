"""The report: a result, or several, as one HTML page that needs nothing else to be read.

No script, no font and no picture comes from elsewhere, and the page forbids the browser to fetch any. The
same result gives the same bytes.
"""

from __future__ import annotations

from napari_spotmix.output.report.joint import joint_report
from napari_spotmix.output.report.single import make_report, write_report

__all__ = ["joint_report", "make_report", "write_report"]
