"""`python -m data`: the command line of `data.cli`."""

import sys

from data.cli import main

sys.exit(main())
