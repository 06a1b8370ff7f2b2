"""Imports go downward only: reproduce, train, sampler, model, weight map, config."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import unet_paper

ROOT = Path(__file__).resolve().parent.parent
FLOORS = {
    0: ("errors", "config", "shapes", "files"),
    1: ("data", "phantom", "compiled", "weight_map", "metrics", "segment"),
    2: ("model", "loss", "elastic", "optimizer", "graph"),
    3: ("sampler", "overlap_tile"),
    4: ("train", "predict"),
    5: ("__main__",),
}
HIGHEST_WITHOUT_TORCH = 1
FIRST_PARTY = ("unet_paper", "reproduce", "data_scripts")


def floor_of(module):
    """Floor of a dotted module name of this project."""
    top, _, rest = module.partition(".")
    if top == "reproduce":
        return 6
    if top == "data_scripts":
        return 2  # above what it may import, and nothing of the package may import it
    room = rest.split(".")[0]
    return next((floor for floor, rooms in FLOORS.items() if room in rooms), None)


def modules():
    """Dotted name and path of every module."""
    for package in FIRST_PARTY:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"), path


def is_submodule(name):
    path = ROOT.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


def imports_of(path):
    """Dotted names of everything a module imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield name if name.startswith(FIRST_PARTY) and is_submodule(name) else node.module


MODULES = dict(modules())


def test_every_module_of_the_package_has_a_floor():
    homeless = [name for name in MODULES if name != "unet_paper" and floor_of(name) is None]
    assert not homeless


@pytest.mark.parametrize("module", [name for name in MODULES if name != "unet_paper"])
def test_imports_go_downward(module):
    own = module.split(".")[0]
    for imported in imports_of(MODULES[module]):
        if not imported.startswith(FIRST_PARTY) or (imported == "unet_paper" and own != "unet_paper"):
            continue  # the table of contents loads lazily what it lists: it is for those above
        assert imported != "unet_paper", f"{module} imports the package it is part of"
        assert floor_of(imported) <= floor_of(module), f"{module} imports {imported} from above"
        assert own == "reproduce" or not imported.startswith("reproduce")


@pytest.mark.parametrize("module", [name for name in MODULES if name != "unet_paper"])
def test_the_two_lowest_floors_and_the_data_scripts_know_no_torch(module):
    names = {name.split(".")[0] for name in imports_of(MODULES[module])}
    if module.startswith("data_scripts") or floor_of(module) <= HIGHEST_WITHOUT_TORCH:
        assert "torch" not in names
    if floor_of(module) == 0:
        assert names <= {*sys.stdlib_module_names, "unet_paper"}


def test_data_scripts_know_files_and_not_the_model():
    for module, path in MODULES.items():
        if module.startswith("data_scripts"):
            for imported in imports_of(path):
                if imported.startswith("unet_paper"):
                    assert floor_of(imported) <= HIGHEST_WITHOUT_TORCH, f"{module} imports {imported}"


@pytest.mark.parametrize(
    "statement",
    [
        "import unet_paper.weight_map",
        "import unet_paper.metrics",
        "from unet_paper import unet_weight_map, cells_from_membranes, metrics",
        "import unet_paper.phantom",
        "import unet_paper.__main__",
        "import data_scripts.isbi2012, data_scripts.phantom",
    ],
)
def test_torch_is_not_imported_by(statement):
    check = f"import sys; {statement}; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=True)


def test_the_table_of_contents_gives_what_it_lists():
    for name in unet_paper.__all__:
        assert getattr(unet_paper, name) is not None
        assert name in dir(unet_paper)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = unet_paper.nothing
