"""The package ships py.typed, so every public function says the types of its arguments and of its result."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "unet_paper"
MODULES = sorted(PACKAGE.rglob("*.py"))


def public_functions(tree):
    """Functions and methods of a module, and of its classes, whose names have no underscore; constructors and calls."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            yield from public_functions(node)
        elif isinstance(node, ast.FunctionDef) and (node.name[0] != "_" or node.name in ("__init__", "__call__")):
            yield node


def missing(function):
    """Arguments of a function that lack an annotation, and "return"."""
    every = ast.walk(function.args)
    bare = [a.arg for a in every if isinstance(a, ast.arg) and a.annotation is None and a.arg != "self"]
    return bare + ["return"] * (function.returns is None)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_public_function_is_annotated(path):
    functions = public_functions(ast.parse(path.read_text(encoding="utf-8")))
    assert not {f"{f.name}, line {f.lineno}": missing(f) for f in functions if missing(f)}


def test_what_lacks_a_type_is_found():
    source = "class A:\n    def __call__(self, x): ...\ndef f(a: int, *b, c: int) -> int: ...\ndef _g(a): ..."
    assert [missing(f) for f in public_functions(ast.parse(source))] == [["x", "return"], ["b"]]
