"""``python -m recbole_ccd``, the same as ``run_ccd.py``."""

from __future__ import annotations

import sys

from recbole_ccd.cli import main

if __name__ == "__main__":
    sys.exit(main())
