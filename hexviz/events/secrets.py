"""What looks like a secret in a text, blacked out: before an error or a reason is recorded, shown or logged.

Every pattern takes linear time: what it matches is consumed, what may fail is bounded. A message is data, and one made
for the purpose must not be able to stop a run.
"""

from __future__ import annotations

import re

REDACTED = "[redacted]"
SLACK = 2_000
"""Characters beyond a limit that are still looked at, so that no secret is cut in two before it is seen."""

_WORDS = (
    r"(?:(?:api|access|private)[_-]?key|token|passw(?:or)?d|passwd|passphrase|(?<![a-z])pwd(?![a-z])|secret"
    r"|authorization|credential|cookie|session[_-]?id)"
)
_IS = r"[\w-]{0,40}(?:\\{0,3}[\"'])?[ \t]{0,8}(?:[=:]{1,3}>?|!==?|%3[ad])[ \t]{0,8}"
_KEY = re.compile(_WORDS, re.IGNORECASE)
_TEXT = re.compile(
    # a header: all of the line
    r"(?P<header>\b(?:authorization|cookie):[ \t]{0,8})[^\n]+"
    # key = value: the value in quotes (with escapes inside, or itself inside quotes), a structure, or one word
    rf"|(?P<kept>{_WORDS}{_IS})"
    r"(?:\[redacted\]"
    r"|b?(?P<plain>[\"'])(?:\\[^\n]|[^\\\n])*?(?:(?P=plain)|\\?(?=\n)|\\?\Z)"
    r"|(?P<escaped>\\{1,3}[\"'])[^\n]*?(?:(?P=escaped)|(?=\n)|\Z)"
    r"|[\[{(][^\n]*"
    rf"|(?!{_WORDS}{_IS})(?:(?:bearer|basic|digest|token)[ \t]+)?\S+)"
    r"|(?P<user>://[^\s/:@\"'<>]{0,200}:)[^\s\"'<>]{1,1000}(?=@)"
    r"|(?P<slashes>://)[^\s/:@\"'<>]{20,200}(?=@)"
    r"|(?P<scheme>\b(?:bearer|basic)[ \t]{1,8})[A-Za-z0-9._~+/=-]{8,}"
    r"|(?P<begin>-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----)"
    r"(?:\[redacted\]|[\s\S]*?(?:-----END [A-Z ]{0,40}PRIVATE KEY-----|\Z))"
    # the keys of well-known services, and JSON web tokens, tell themselves
    r"|(?-i:(?<![\w-])(?:sk-[\w-]{16,}|gh[pousr]_\w{20,}|github_pat_\w{20,}|xox[abeprs]-[\w-]{10,}|glpat-[\w-]{16,}"
    r"|hf_\w{20,}|(?:AKIA|ASIA)[0-9A-Z]{16}(?!\w)|AIza[\w-]{30,}|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*))",
    re.IGNORECASE,
)


_SIGNS = (
    *(f"{kind}{joint}key" for kind in ("api", "access", "private") for joint in ("", "_", "-", " ")),
    "token", "passw", "passphrase", "pwd", "secret", "authorization", "credential", "cookie", "session", "://",
    "bearer", "basic", "sk-", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "xox", "glpat-", "hf_", "akia",
    "asia", "aiza", "eyj",
)  # fmt: skip
"""One of these stands in every text that the patterns find something in. Most texts have none, which is told soon."""


def is_secret(key: str | bytes) -> bool:
    """Whether what stands under ``key`` is not to be kept."""
    return _KEY.search(key if isinstance(key, str) else key.decode("latin-1")) is not None


def masked(text: str) -> str:
    """``text`` with what looks like a secret (``password=...``, ``://user:...@``, ``Bearer ...``) blacked out.

    Doing so twice changes nothing more.
    """
    low = text.lower()
    return _TEXT.sub(_mask, text) if any(sign in low for sign in _SIGNS) else text


def _mask(match: re.Match[str]) -> str:
    return "".join(match[name] or "" for name in _KEPT) + REDACTED


_KEPT = ("header", "kept", "user", "slashes", "scheme", "begin")


def masked_head(text: str, limit: int) -> str:
    """The first ``limit`` characters of ``text``, masked before they are cut."""
    if len(text) <= limit:
        return masked(text)
    if len(text) > limit + SLACK:
        seen = text[: limit + SLACK]
        text = seen[: max(seen.rfind(" "), seen.rfind("\n")) + 1] or seen  # the last word may be half a secret
    return masked(text)[:limit]


def masked_tail(text: str, limit: int) -> str:
    """The last ``limit`` characters of ``text``, masked before they are cut."""
    if len(text) <= limit:
        return masked(text)
    if len(text) > limit + SLACK:
        seen = text[-limit - SLACK :]
        text = seen[seen.find("\n") + 1 :]
    return masked(text)[-limit:]
