"""``python -m hexviz``: the command line, for where ``hexviz`` is not on the path."""

import sys

from hexviz.cli import main

if __name__ == "__main__":
    sys.exit(main())
