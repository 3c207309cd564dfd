"""What can go wrong with a store; every error names the path."""

from __future__ import annotations

from hexviz.errors import HexvizError, SourceError


class StoreError(HexvizError, OSError):
    """The base of all errors of stores."""


class NotAStoreError(StoreError):
    """The path is a directory, a file of another kind, or another application's database."""


class NoStoreError(StoreError, SourceError):
    """No store is there yet (no file, an empty one, a database without its tables), and who only reads makes none."""

    def __init__(self, place: object, found: str = "") -> None:
        super().__init__(
            f"there is no store {place}{found}, so no run is kept in it: correct the name. The first run "
            "makes it (hexviz demo --store NAME), and so does hexviz.open_store(NAME)"
        )


class NothingToSalvageError(StoreError):
    """No run and no record is there, whole or damaged: no new store is made of it."""

    def __init__(self, place: object) -> None:
        super().__init__(f"{place} holds no run and no record: nothing to salvage, and nothing was written")


class NewerStoreError(StoreError):
    """The store was written by a newer hexviz, with a layout that this one does not know."""


class StoreReadOnlyError(StoreError):
    """The file or its directory cannot be written."""


class StoreUnreachableError(StoreError):
    """The server of the store does not answer, or does not let us in."""


class StoreCorruptError(StoreError):
    """A record does not have the checksum that was written with it, or the file itself is damaged."""


class StoreWriteError(StoreError):
    """Records could not be written (disk full, file locked for long); they stay queued and are tried again."""


class RunTakenError(StoreWriteError):
    """The store holds another run of that id: the same seq with another record. Give this run an id of its own."""


class RunNotFoundError(HexvizError, KeyError):
    """No run of that id, or several runs that begin so."""

    def __str__(self) -> str:
        return str(self.args[0])
