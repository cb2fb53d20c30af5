"""Runs recbole_ccd from a checkout: ``python run_ccd.py --key=value ...``."""

import sys

from recbole_ccd.cli import main

if __name__ == "__main__":
    sys.exit(main())
