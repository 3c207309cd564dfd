"""The browser's half of the view, as text: its modules joined into one, so that nothing has to be built or loaded."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

_IMPORT = re.compile(r'^import \{([^}]*)\} from "\./([a-z]+)\.mjs";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?:async )?(?:function|const|class) ([\w$]+|\[[^\]]*\])", re.MULTILINE)


@cache
def asset(name: str) -> str:
    """The text of a file in ``hexviz/widgets/static``; of ``x.js`` all modules that ``x.mjs`` needs, as one module."""
    if name.endswith(".js"):
        return _bundle(name.removesuffix(".js"))
    return (files("hexviz.widgets") / "static" / name).read_text(encoding="utf-8")


def _bundle(entry: str) -> str:
    """Each module becomes a function that is called once, in the order of need; the entry itself stands at the end."""
    order: list[str] = []
    _visit(entry, order, ())
    parts = [_enclosed(module) for module in order[:-1]]
    return "\n".join([*parts, _IMPORT.sub(_taken, asset(f"{entry}.mjs"))])


def _visit(module: str, order: list[str], above: tuple[str, ...]) -> None:
    if module in above:
        raise ImportError(f"modules import each other: {' -> '.join((*above, module))}")
    if module in order:
        return
    for match in _IMPORT.finditer(asset(f"{module}.mjs")):
        _visit(match.group(2), order, (*above, module))
    order.append(module)


def _enclosed(module: str) -> str:
    source = asset(f"{module}.mjs")
    names = [name for found in _EXPORT.findall(source) for name in re.findall(r"[\w$]+", found)]
    body = re.sub(r"^export ", "", _IMPORT.sub(_taken, source), flags=re.MULTILINE)
    return f"const ${module} = (() => {{\n{body}return {{ {', '.join(names)} }};\n}})();\n"


def _taken(match: re.Match[str]) -> str:
    return f"const {{{match.group(1)}}} = ${match.group(2)};\n"
