"""docs/faults.md names tests; each of them is there, and no case of its sections is left out."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
SHOWN = re.findall(r"^- `(.+)`$", PAGE, re.MULTILINE)


@pytest.mark.parametrize("shown", sorted(set(SHOWN)), ids=lambda shown: shown.rpartition(":")[2])
def test_what_the_page_names_is_there(shown):
    file, _, name = shown.partition("::")
    text = (ROOT / file).read_text(encoding="utf-8")
    assert re.search(rf"^(def|class) {name}\b" if name else r"^def test_", text, re.MULTILINE)


def test_every_case_names_what_shows_it():
    cases = re.split(r"^### ", PAGE, flags=re.MULTILINE)[1:]
    assert len(cases) > 100
    assert [case.splitlines()[0] for case in cases if "\n- `" not in case] == []


@pytest.mark.parametrize(("section", "count"), [("A", 17), ("B", 14), ("G", 5)])
def test_every_case_of_a_section_has_its_heading(section, count):
    part = re.search(rf"^## {section}: .*?(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL).group()
    numbers = re.findall(rf"^### {section}(\d+):", part, re.MULTILINE)
    assert [int(number) for number in numbers] == [*range(1, count + 1)]
