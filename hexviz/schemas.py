"""The documents that describe what hexviz sends, as files."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hexviz
from hexviz.errors import SourceError
from hexviz.events.async_api import async_api
from hexviz.events.events import EVENT_CLASSES
from hexviz.events.json_schema import event_schema, user_event_classes
from hexviz.streams.open_api import open_api

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["documents", "write_schemas"]


def write_schemas(directory: str | Path, modules: Iterable[str] = ()) -> list[Path]:
    """Write the documents of :func:`documents` to a directory, made where it is missing; returns the files.

    ``modules`` are imported first, so that the event classes that they define are described too. Raises
    :class:`~hexviz.errors.SourceError` where one cannot be imported or the directory cannot be written.
    """
    for module in modules:
        _import(module)
    target = Path(directory)
    try:
        target.mkdir(parents=True, exist_ok=True)
        return [_written(target / name, document) for name, document in documents()]
    except OSError as error:
        raise SourceError(f"the schemas cannot be written to {target}: {error}") from error


def documents() -> Iterator[tuple[str, dict[str, Any]]]:
    """File names and documents: JSON Schema of every event known now, AsyncAPI, and OpenAPI of the server."""
    classes = (*EVENT_CLASSES, *user_event_classes())
    yield "events.schema.json", event_schema(classes)
    yield "asyncapi.json", async_api(classes, version=hexviz.__version__)
    yield "openapi.json", open_api(version=hexviz.__version__)


def _written(path: Path, document: dict[str, Any]) -> Path:
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return path


def _import(module: str) -> None:
    if "" not in sys.path:
        sys.path.insert(0, "")  # as `python -m` does: modules of the working directory are found
    try:
        importlib.import_module(module)
    except Exception as error:
        raise SourceError(f"the module {module!r} cannot be imported: {type(error).__name__}: {error}") from error
