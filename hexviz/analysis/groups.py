"""The groups that somebody asks for, checked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hexviz.errors import SettingError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hexviz.analysis.source import Kind


def grouped_by(by: Sequence[str] | str, known: Mapping[str, Kind]) -> dict[str, Kind]:
    """The columns ``by`` with their kinds, in the order given.

    Raises :class:`~hexviz.errors.SettingError` for one that is not ``known``, for one that stands twice, and for none.
    """
    names = (by,) if isinstance(by, str) else tuple(by)
    wrong = [name for name in names if name not in known]
    if wrong or not names or len(set(names)) < len(names):
        raise SettingError(f"by takes one or several of {', '.join(known)}, each once, not {by!r}")
    return {name: known[name] for name in names}
