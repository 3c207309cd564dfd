"""Every error that hexviz raises on purpose. Each also inherits the builtin that it resembles."""

from __future__ import annotations

from typing import Any


class HexvizError(Exception):
    """The base of all errors of hexviz: ``except HexvizError`` catches every one of them."""

    def __reduce__(self) -> tuple[Any, ...]:
        """For another process: made from what it is, since many word themselves from facts that their maker had."""
        return _made_again, (type(self), self.args, self.__dict__)


def _made_again(cls: type[HexvizError], args: tuple[Any, ...], facts: dict[str, Any]) -> HexvizError:
    builtin: Any = cls  # with two builtin bases only the one that gives the layout can make an instance
    while builtin.__module__ != "builtins":
        builtin = builtin.__base__
    error: HexvizError = builtin.__new__(cls, *args)
    error.args = args
    error.__dict__.update(facts)
    return error


class MissingExtraError(HexvizError, ImportError):
    """An optional package is not installed; the message names the extra that brings it."""

    def __init__(self, package: str, extra: str, *, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package {package!r}, which is not installed. "
            f"Install it with: pip install 'hexviz[{extra}]'",
            name=package,
        )
        self.extra = extra


class WrongCallError(HexvizError, RuntimeError):
    """One of hexviz's functions was called where another one belongs; the message names it."""


class RegistrationError(HexvizError, ValueError):
    """A handler was registered in a way that cannot work."""


class RegistrationTypeError(HexvizError, TypeError):
    """A handler, an event type or a topic of the wrong type was given to ``register``."""


class MixedVersionsError(HexvizError, TypeError):
    """An object of another copy of hexviz was given to this one: a kernel that was not restarted after an upgrade."""


def named(thing: Any) -> str:
    """What a wrong argument is, in an error."""
    return repr(thing) if isinstance(thing, str | int | float | None) else type(thing).__name__


def hint_at_another_copy(cls: type, ours: type) -> str:
    """What to add to a message that ``cls`` is not ``ours``, where it looks so much like it; else nothing."""
    for base in cls.__mro__:
        if base is not ours and base.__qualname__ == ours.__qualname__ and base.__module__ == ours.__module__:
            return " of this copy of hexviz: two versions are loaded. Restart the kernel (the process) after an upgrade"
    return ""


class SettingError(HexvizError, ValueError):
    """An option of a policy, an analysis, a figure or a recorder has a value that cannot work; the message names it."""


class SourceError(HexvizError, ValueError):
    """Input data (a table, a file) lacks something or holds something that cannot be used."""
