"""Which store a command line names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hexviz.errors import SourceError
from hexviz.opening import open_store
from hexviz.stores.store import is_address
from hexviz.watching import shown

if TYPE_CHECKING:
    from hexviz.stores.store import Store


def kept_store(place: str | None) -> Store:
    """The store at ``place``, or the default one; what is named must be there, for opening a path would make it."""
    if place is not None and not is_address(place):
        refuse_other_addresses(place)
        if not Path(place).exists():
            raise SourceError(f"there is no store {place}: correct the path, or fill one with hexviz demo --store PATH")
    return open_store(place)


def refuse_other_addresses(place: str) -> None:
    """Raise :class:`~hexviz.errors.SourceError` for an address that is not PostgreSQL's."""
    if "://" in place and not is_address(place):
        raise SourceError(f"{shown(place)} is no store: name a file, or postgresql://USER@HOST/DATABASE")
