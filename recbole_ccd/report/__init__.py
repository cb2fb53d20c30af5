"""What a person sees of a run: tables and the log."""

from recbole_ccd.report.log import EPOCH_LOGGER, RunLog
from recbole_ccd.report.tables import block_table, final_table

__all__ = ["EPOCH_LOGGER", "RunLog", "block_table", "final_table"]
