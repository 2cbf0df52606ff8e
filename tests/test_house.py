"""Every file can be read in one sitting, and says what a reader must know."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import vidcli

PACKAGE = Path(vidcli.__file__).parent
FILES = {str(file.relative_to(PACKAGE)): file for file in sorted(PACKAGE.rglob("*.py"))}
TREES = {name: ast.parse(file.read_text(encoding="utf-8")) for name, file in FILES.items()}

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
MAX_CLASS_LINES = 200
MAX_ATTRIBUTES = 15
MAX_SILENT_PARAMETERS = 2

# A docstring line that gives the reason why a class is large.
REASON = re.compile(r"^\s*Large because\b", re.MULTILINE)
# These rooms have a file for each thing that they show or command, named like the room or file that computes
# it. Their own name tells them apart; so do those of `__init__` files.
FACES = ("commands", "console", "report")
# The arguments of a command are described by its help.
COMMANDS = "commands"

Function = ast.FunctionDef | ast.AsyncFunctionDef


def length(node: ast.stmt) -> int:
    """Return the number of lines of a definition, decorators left out."""
    assert node.end_lineno is not None
    return node.end_lineno - node.lineno + 1


def room(name: str) -> str:
    """Return the first part of a file's path: its folder, or its stem where it has none."""
    return name.partition("/")[0].removesuffix(".py")


def long_files() -> Iterator[str]:
    for name, file in FILES.items():
        if len(file.read_text(encoding="utf-8").splitlines()) > MAX_FILE_LINES:
            yield name


def long_functions() -> Iterator[str]:
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, Function) and length(node) > MAX_FUNCTION_LINES:
                yield f"{name}: {node.name}"


def attributes_of(node: ast.ClassDef) -> set[str]:
    """Return the names of the attributes that a class declares or that its methods set."""
    declared = {
        part.target.id
        for part in node.body
        if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name)
    }
    return declared | {
        part.attr
        for part in ast.walk(node)
        if isinstance(part, ast.Attribute)
        and isinstance(part.ctx, ast.Store)
        and isinstance(part.value, ast.Name)
        and part.value.id == "self"
    }


def large_classes() -> Iterator[str]:
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            if not isinstance(node, ast.ClassDef) or REASON.search(ast.get_docstring(node) or ""):
                continue
            if length(node) > MAX_CLASS_LINES or len(attributes_of(node)) > MAX_ATTRIBUTES:
                yield f"{name}: {node.name}"


def repeated_names() -> Iterator[str]:
    """Yield file names that two rooms share, and those that are the name of a room."""
    files_of: dict[str, set[str]] = defaultdict(set)
    rooms = {room(name) for name in FILES}
    for name in FILES:
        stem = Path(name).stem
        if stem != "__init__" and room(name) not in FACES:
            files_of[stem].add(name)
            if "/" in name and stem in rooms:
                yield name
    for files in files_of.values():
        if len(files) > 1:
            yield from files


def public_functions(name: str) -> Iterator[tuple[str, Function, bool]]:
    """Yield public functions and methods by name, and whether their first parameter is bound."""
    for node in TREES[name].body:
        if isinstance(node, Function) and not node.name.startswith("_"):
            yield node.name, node, False
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for part in node.body:
                if isinstance(part, Function) and (not part.name.startswith("_") or part.name == "__init__"):
                    is_static = any(ast.unparse(mark) == "staticmethod" for mark in part.decorator_list)
                    yield f"{node.name}.{part.name}", part, not is_static


def parameters_of(node: Function, is_bound: bool) -> list[str]:
    parameters = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return [parameter.arg for parameter in parameters][1 if is_bound else 0 :]


def described_arguments(docstring: str) -> set[str]:
    """Return the names in the section `Args:` of a docstring."""
    _, found, section = docstring.partition("Args:\n")
    section = re.split(r"\n\s*\n", section)[0] if found else ""
    indents = [len(line) - len(line.lstrip()) for line in section.splitlines()]
    names = set()
    for line, indent in zip(section.splitlines(), indents, strict=True):
        if indent == min(indents) and ":" in line:
            names |= {name.strip(" *`") for name in line.partition(":")[0].split(",")}
    return names


def undescribed_arguments() -> Iterator[str]:
    for name in FILES:
        if room(name) == COMMANDS:
            continue
        for path, node, is_bound in public_functions(name):
            docstring = ast.get_docstring(node) or ""
            parameters = parameters_of(node, is_bound)
            refers = re.search(r"see `\w+`", docstring)  # to what describes the same arguments
            if (
                len(parameters) <= MAX_SILENT_PARAMETERS
                or (not docstring and path.endswith("__init__"))
                or refers
            ):
                continue
            if not described_arguments(docstring).issuperset(parameters):
                yield f"{name}: {path}"


def array_aliases() -> Iterator[str]:
    """Yield aliases of the array types that have a name in `arrays`."""
    common = re.compile(r"npt\.NDArray\[np\.(bool_|int64|float32|float64|uint8)\]$")
    for name, tree in TREES.items():
        for node in tree.body if name != "arrays.py" else []:
            value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
            if value is not None and common.match(ast.unparse(value)):
                yield f"{name}: {ast.unparse(node).partition(' ')[0].rstrip(':')}"


RULES: dict[str, Callable[[], Iterator[str]]] = {
    "files of at most 400 lines": long_files,
    "functions of at most 60 lines": long_functions,
    "classes of at most 200 lines and 15 attributes, or a reason": large_classes,
    "no file name twice, and none that is the name of a room": repeated_names,
    "a public function of three parameters or more describes each of them": undescribed_arguments,
    "array types that several rooms use are named in arrays": array_aliases,
}


@pytest.mark.parametrize("rule", RULES)
def test_rules_hold(rule: str) -> None:
    assert set(RULES[rule]()) == set()


def test_described_arguments_are_found() -> None:
    docstring = """Do it.

    Args:
        first: a number, such as
            one: or two.
        second, third: others.

    Raises:
        ValueError: no.
    """
    assert described_arguments(ast.get_docstring(ast.parse(f'"""{docstring}"""')) or "") == {
        "first",
        "second",
        "third",
    }
    assert described_arguments("Do it.") == set()


def test_attributes_are_counted() -> None:
    tree = ast.parse(
        "class A:\n    x: int\n    def f(self):\n        self.y, b.z = 1, 2\n        self.y += 1\n"
    )
    (node,) = tree.body
    assert isinstance(node, ast.ClassDef)
    assert attributes_of(node) == {"x", "y"}
