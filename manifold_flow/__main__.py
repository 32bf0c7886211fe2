"""``python -m manifold_flow``: the command line."""

import sys

from manifold_flow.cli import main

if __name__ == "__main__":
    sys.exit(main())
