"""What is worth telling of data before a run, each with what to do, and the fix where there is one.

Problems keep the data from being used (`checks` finds them), warnings make a result doubtful, notes are good
to know.
"""

from napari_spotmix.dataset.diagnostics.diagnose import look
from napari_spotmix.dataset.diagnostics.files import look_at_files
from napari_spotmix.dataset.diagnostics.finding import LEVELS, NOTE, PROBLEM, WARNING, Finding, Level

__all__ = ["LEVELS", "NOTE", "PROBLEM", "WARNING", "Finding", "Level", "look", "look_at_files"]
