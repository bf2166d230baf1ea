"""`python -m rfkernels`: the command line."""

import sys

from rfkernels.cli.main import main

sys.exit(main())
