"""What a saved notebook says where a live view stood whose run had not ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hexviz.widgets.text import clean_text, xml_text

if TYPE_CHECKING:
    from hexviz.widgets.timeline import TimelineWidget


def unended_note(title: str, run_id: str) -> str:
    """One sentence, and where the run is kept (``run_id`` is not empty) another that says how to see it."""
    name = clean_text(title, 80) or "This run"
    said = f"{name} had not ended when this was saved, and its live view needs its kernel."
    return f"{said} See the run with hexviz.dashboard({run_id!r}) or hexviz report {run_id}" if run_id else said


class WithNote:
    """A widget as front ends show it, with a sentence beside it for readers and formats that cannot.

    Of the types of one output a front end that knows widgets takes the widget; GitHub, Markdown, LaTeX and plain text
    take the sentence.
    """

    def __init__(self, widget: TimelineWidget) -> None:
        self.widget = widget

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        shown = self.widget._repr_mimebundle_(**kwargs)
        data, metadata = shown if isinstance(shown, tuple) else (shown or {}, {})
        note = self.widget.note
        return {**data, "text/plain": note, "text/html": f"<p>{xml_text(note, 600)}</p>"}, metadata
