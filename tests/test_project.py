"""The project as a whole: what it declares, what it says and what it imports agree."""

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import hexviz

ROOT = Path(__file__).parents[1]
HEAVY = {"pandas", "plotly", "ipywidgets", "anywidget", "numpy", "IPython", "rich", "sklearn"}


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def read(path):
    return (ROOT / path).read_text(encoding="utf-8")


def commands_of_readme():
    return [line for line in read("README.md").splitlines() if line.startswith("python3 -m venv ")]


def test_the_readme_has_the_two_commands_each_on_one_line():
    demo, tests = commands_of_readme()
    assert demo.endswith("hexviz demo")
    assert "-m pytest " in tests
    assert "'.[test]'" in tests
    for command in (demo, tests):
        assert command.count("&&") == 2
        assert shlex.split(command)[:4] == ["python3", "-m", "venv", ".venv"]


def test_ci_runs_the_readmes_test_command_and_not_a_copy_of_it():
    script = read(".ci/run")
    pattern = re.search(r"grep -E '([^']+)' README\.md", script).group(1)
    assert [line for line in read("README.md").splitlines() if re.search(pattern, line)] == [commands_of_readme()[1]]
    assert "pytest" not in script.replace(pattern, "")
    for check in (
        "ruff check",
        "ruff format --check",
        "mypy",
        "lint-imports",
        "hexviz demo",
        "export CI=true",
        "pandas2",
        "ipykernel6",
        "pythons",
    ):
        assert check in script


def test_there_are_browser_tests_for_ci_to_insist_on():
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "tests" / "browser").glob("test_*.py")]
    assert any("pytest.mark.browser" in source for source in sources)


def test_conda_gets_the_same_dependencies_as_pip(project):
    declared = {*project["project"]["dependencies"], *project["project"]["optional-dependencies"]["notebooks"]}
    listed = set(re.findall(r"^\s+- ([\w.-]+>=[\d.]+)$", read("environment.yml"), flags=re.MULTILINE))
    python = f"python{project['project']['requires-python']}"
    assert listed == declared | {python}


def test_every_ignored_rule_of_ruff_has_its_reason_beside_it():
    block = read("pyproject.toml").split("[tool.ruff.lint]")[1].split("[tool.ruff.lint.pydocstyle]")[0]
    codes = [line for line in block.splitlines() if re.match(r'\s+"[A-Z]+\d*"', line)]
    assert codes
    assert [line for line in codes if "# " not in line] == []


def test_every_extra_that_an_error_or_a_page_names_is_declared(project):
    declared = set(project["project"]["optional-dependencies"])
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("hexviz/**/*.py")]
    named = {
        extra for page in pages for extra in re.findall(r"(?:hexviz|-e '\.)\[(\w+)\]", page.read_text(encoding="utf-8"))
    }
    assert named <= declared


def test_the_package_is_typed_licensed_and_versioned(project):
    assert (ROOT / "hexviz" / "py.typed").exists()
    assert project["project"]["license"] == "BSD-3-Clause"
    assert read("LICENSE").startswith("BSD 3-Clause License")
    assert f"## {project['project']['version']}" in read("CHANGELOG.md")
    assert hexviz.__version__ == project["project"]["version"]


@pytest.mark.parametrize("module", ["hexviz", "hexviz.events", "hexviz.dag", "hexviz.policies"])
def test_importing_the_core_loads_nothing_heavy(module):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", f"import {module}"], capture_output=True, text=True, check=True
    )
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert module.partition(".")[0] in loaded
    assert loaded & HEAVY == set()


def anchors_of(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_links_between_the_pages_lead_to_a_page_and_its_heading():
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("notebooks/**/*.md")]
    links = [
        (page, target, anchor)
        for page in pages
        for target, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", page.read_text(encoding="utf-8"))
    ]
    assert links
    lost = []
    for page, target, anchor in links:
        there = page.parent / target if target else page
        if not there.exists() or (anchor and anchor not in anchors_of(there)):
            lost.append(f"{page.name} -> {target}#{anchor}")
    assert lost == []


def test_the_page_on_concepts_has_the_rooms_and_their_order(project):
    rooms = next(contract for contract in project["tool"]["importlinter"]["contracts"] if "layers" in contract)
    rows = re.findall(r"^\| (`.+?`) \|", read("docs/concepts.md").split("## The rooms of the code")[1], re.MULTILINE)
    assert [re.findall(r"`(\w+)`", row) for row in rows] == [re.findall(r"\w+", layer) for layer in rooms["layers"]]
