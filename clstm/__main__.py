"""``python -m clstm``: the command line."""

import sys

from clstm.cli.parser import main

sys.exit(main())
