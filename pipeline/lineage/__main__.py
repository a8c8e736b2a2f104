"""`python -m pipeline.lineage`: see `pipeline.lineage.cli`."""

import sys

from pipeline.lineage.cli import main

if __name__ == "__main__":
    sys.exit(main())
