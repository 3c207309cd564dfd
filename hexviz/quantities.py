"""Ages, sizes and times as people type them on the command line. What cannot be read is an ArgumentTypeError."""

from __future__ import annotations

import argparse
import re
from datetime import UTC, datetime, timedelta

_AGE = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s*([smhdw])", re.ASCII)
_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,9})?)\s*([kMGT]?)B?", re.ASCII)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_BYTES = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def age(text: str) -> timedelta:
    """Seconds, minutes, hours, days or weeks: 90m, 12h, 30d, 2w."""
    found = _AGE.fullmatch(text)
    try:
        if found is not None:
            return timedelta(seconds=float(found[1]) * _SECONDS[found[2]])
    except OverflowError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is no age: 90m, 12h, 30d, 2w")


def size(text: str) -> int:
    """Bytes: 1000, 500kB, 20MB, 2GB."""
    found = _SIZE.fullmatch(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no size: 500kB, 20MB, 2GB")
    return int(float(found[1]) * _BYTES[found[2]])


def count(text: str) -> int:
    """A number from 1 on."""
    if not text.isascii() or not text.isdigit() or not int(text[:18]):
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 on")
    return int(text[:18])


def moment(text: str) -> datetime:
    """A date or time by ISO 8601 (UTC where it does not say), or how long ago: 2026-01-31, 2026-01-31T12:00, 7d."""
    try:
        if _AGE.fullmatch(text):
            return datetime.now(UTC) - age(text)
        found = datetime.fromisoformat(text)
    except (ValueError, OverflowError) as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time: 2026-01-31, 2026-01-31T12:00, or 7d for a week ago"
        ) from error
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
