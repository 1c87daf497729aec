"""What is worth knowing about data before a run, each with what to do, and the fix if there is one.

With a problem, no run starts (`validation` finds most of them); a warning makes a result doubtful; a note is
good to know.
"""

from napari_spotmix.dataset.diagnostics.both import diagnose
from napari_spotmix.dataset.diagnostics.files import diagnose_files
from napari_spotmix.dataset.diagnostics.inputs import input_findings
from napari_spotmix.dataset.finding import LEVELS, NOTE, PROBLEM, WARNING, Finding, Level, messages

__all__ = [
    "LEVELS",
    "NOTE",
    "PROBLEM",
    "WARNING",
    "Finding",
    "Level",
    "diagnose",
    "diagnose_files",
    "input_findings",
    "messages",
]
