"""``python -m clstm``: the command line."""

import sys

from clstm.cli import main

sys.exit(main())
