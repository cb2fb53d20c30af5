"""Reports as web pages that need no other file: of a run, and of a comparison."""

from recbole_ccd.report.html.comparison import comparison_report
from recbole_ccd.report.html.run import run_report

__all__ = ["comparison_report", "run_report"]
