"""Topic patterns: ``*`` is one level, ``**`` any number of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hexviz.errors import RegistrationError, RegistrationTypeError
from hexviz.events.topics import compile_pattern, compile_topics

_levels = st.lists(st.sampled_from(["a", "b", "node", "x%2Ey", "*", "**"]), min_size=1, max_size=6)
_topics = st.lists(st.sampled_from(["a", "b", "node", "x%2Ey", "c"]), min_size=1, max_size=6)


def _slow_match(pattern: list[str], topic: list[str]) -> bool:
    if not pattern:
        return not topic
    if pattern[0] == "**":
        return any(_slow_match(pattern[1:], topic[i:]) for i in range(len(topic) + 1))
    return bool(topic) and pattern[0] in {"*", topic[0]} and _slow_match(pattern[1:], topic[1:])


@given(_levels, _topics)
def test_patterns_match_as_the_slow_reference_does(pattern, topic):
    assert compile_pattern(".".join(pattern))(".".join(topic)) == _slow_match(pattern, topic)


@pytest.mark.parametrize("pattern", ["", "a..b", "a.b*", ".a", "a.", "a.***"])
def test_a_pattern_that_cannot_work_is_refused_with_its_text(pattern):
    with pytest.raises(RegistrationError, match="level"):
        compile_pattern(pattern)


def test_patterns_that_are_no_text_are_refused():
    with pytest.raises(RegistrationTypeError, match="pipeline"):
        compile_topics([3])
