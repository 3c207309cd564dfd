"""Which store a command line names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hexviz.errors import SourceError
from hexviz.opening import kept_store
from hexviz.stores.store import is_address
from hexviz.watching import shown

if TYPE_CHECKING:
    from hexviz.stores.store import Store


def chosen_store(place: str | None) -> Store:
    """The store at ``place``, which must be there, or the default one."""
    if place is not None:
        refuse_other_addresses(place)
    return kept_store(place)


def refuse_other_addresses(place: str) -> None:
    """Raise :class:`~hexviz.errors.SourceError` for an address that is not PostgreSQL's."""
    if "://" in place and not is_address(place):
        raise SourceError(f"{shown(place)} is no store: name a file, or postgresql://USER@HOST/DATABASE")
