"""docs/faults.md names tests; each of them is there, and no case of its sections is left out."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)))


@pytest.mark.parametrize(("file", "name"), NAMED, ids=[name for _, name in NAMED])
def test_a_test_that_the_page_names_is_there(file, name):
    assert re.search(rf"^(def|class) {name}\b", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize(("section", "count"), [("A", 17), ("B", 14), ("G", 5)])
def test_every_case_of_a_section_has_its_line(section, count):
    assert [int(number) for number in re.findall(rf"^\| {section}(\d+) ", PAGE, re.MULTILINE)] == [*range(1, count + 1)]
