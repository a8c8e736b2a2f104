"""`python -m data`: photos to TFRecords and back from the command line."""

import sys

from data.cli import main

sys.exit(main())
