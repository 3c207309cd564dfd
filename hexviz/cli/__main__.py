"""``python -m hexviz.cli``."""

import sys

from hexviz.cli.parsing import main

if __name__ == "__main__":
    sys.exit(main())
