"""``python -m hexviz.recording.frames`` writes the page docs/frames.md."""

import sys

from hexviz.recording.layout import describe

if __name__ == "__main__":
    sys.stdout.write(describe())
