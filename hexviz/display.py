"""Whether anything may be shown: the one place that reads ``HEXVIZ_DISPLAY``."""

from __future__ import annotations

import os

_VARIABLE = "HEXVIZ_DISPLAY"
_OFF = frozenset({"off", "0", "no", "none", "false"})


def wanted() -> bool:
    """Whether live views, magics and the terminal may show something: nobody has said ``HEXVIZ_DISPLAY=off``."""
    return os.environ.get(_VARIABLE, "").strip().lower() not in _OFF


def switch(*, on: bool) -> None:
    """Show things again, or nothing from now on, in this process and in those that it starts."""
    os.environ[_VARIABLE] = "on" if on else "off"
