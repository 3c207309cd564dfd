"""Whether a result is what its node promised."""

from __future__ import annotations

import logging
from typing import Any

_log = logging.getLogger("hexviz.orchestrator")


def checked_result(node: str, model: Any, result: Any, *, strict: bool) -> Any:
    """``result`` as ``model`` has it: a class to be an instance of, or a model that validates.

    A mismatch raises TypeError where validation is ``strict``, and is logged otherwise.
    """
    if hasattr(model, "model_validate"):
        return model.model_validate(result)
    if isinstance(model, type) and not _is_instance(result, model):
        msg = f"node {node!r} returned {type(result).__name__}, but its out_model is {model.__name__}"
        if strict:
            raise TypeError(msg)
        _log.warning("%s", msg)
    return result


def _is_instance(value: Any, model: type) -> bool:
    try:
        return isinstance(value, model)
    except TypeError:  # Any, a TypedDict: nothing to check at run time
        return True
