"""`python -m kvtape`: the same as the command `kvtape`."""

from __future__ import annotations

import sys

from kvtape.cli import main

if __name__ == "__main__":
    sys.exit(main())
