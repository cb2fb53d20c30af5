"""What a person sees of a run: tables and the log."""

from recbole_ccd.report.comparison import comparison_csv, comparison_markdown, comparison_table
from recbole_ccd.report.log import EPOCH_LOGGER, RunLog
from recbole_ccd.report.tables import block_table, final_table

__all__ = [
    "EPOCH_LOGGER",
    "RunLog",
    "block_table",
    "comparison_csv",
    "comparison_markdown",
    "comparison_table",
    "final_table",
]
