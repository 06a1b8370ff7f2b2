"""Imports go downward only: what a room builds on lies on a lower floor, and the lower rooms know no torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import unet_paper

ROOT = Path(__file__).resolve().parent.parent
FLOORS = (
    ("unet_paper.errors", "unet_paper.config", "unet_paper.compiled"),
    (
        "unet_paper.command",
        "unet_paper.files",
        "unet_paper.shapes",
        "unet_paper.loss",
        "unet_paper.elastic",
        "unet_paper.device",
        "unet_paper.optimizer",
        "unet_paper.graph",
        "unet_paper.engine",
    ),
    ("unet_paper.tiff", "unet_paper.weight_map", "unet_paper.metrics", "unet_paper.model"),
    (
        "unet_paper.isbi",
        "unet_paper.segment",
        "unet_paper.volume_io",
        "unet_paper.sampler",
        "unet_paper.overlap_tile",
        "unet_paper.checkpoint",
    ),
    ("unet_paper.recipe", "unet_paper.predict", "unet_paper.trained", "data_scripts"),
    ("unet_paper.train", "unet_paper.volume", "unet_paper.export"),
    ("unet_paper.commands", "reproduce.records", "reproduce.data"),
    (
        "unet_paper.__main__",
        "reproduce.experiment",
        "reproduce.figures",
        "reproduce.report.select",
        "reproduce.benchmark.timing",
    ),
    ("reproduce.baselines", "reproduce.report.text", "reproduce.benchmark.networks"),
    (
        "reproduce.report.tables",
        "reproduce.report.charts",
        "reproduce.report.claims",
        "reproduce.report.compare",
        "reproduce.benchmark.training",
        "reproduce.benchmark.inference",
        "reproduce.benchmark.volumes",
        "reproduce.benchmark.weight_map",
        "reproduce.benchmark.metrics",
    ),
    ("reproduce.report.render", "reproduce.benchmark.command"),
    (
        "reproduce.quick",
        "reproduce.table1",
        "reproduce.ablations",
        "reproduce.pretrained",
        "reproduce.sweep",
        "reproduce.systems",
        "reproduce.publish",
        "reproduce.verify",
    ),
    ("reproduce.__main__",),
)
LOWEST = (  # the standard library alone
    "unet_paper.errors",
    "unet_paper.config",
    "unet_paper.command",
    "unet_paper.files",
    "unet_paper.shapes",
)
WITHOUT_TORCH = (
    *LOWEST,
    "unet_paper.compiled",
    "unet_paper.tiff",
    "unet_paper.isbi",
    "unet_paper.weight_map",
    "unet_paper.metrics",
    "unet_paper.segment",
    "unet_paper.volume_io",
    "data_scripts",
)
FIRST_PARTY = ("unet_paper", "reproduce", "data_scripts")


def is_in(module, room):
    return f"{module}.".startswith(f"{room}.")


def floor_of(module):
    """Floor of a dotted module name of this project; None if it has none."""
    return next((floor for floor, rooms in enumerate(FLOORS) if any(is_in(module, room) for room in rooms)), None)


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


MODULES = {name: path for name, path in modules() if path.name != "__init__.py" or name == "unet_paper.metrics"}
ABOVE_THE_PACKAGE = ("unet_paper.__main__", "unet_paper.commands", "reproduce", "data_scripts")  # may use its contents


def test_every_module_has_a_floor():
    assert not [name for name in MODULES if floor_of(name) is None]


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_downward(module):
    for imported in filter(lambda name: name.startswith(FIRST_PARTY), imports_of(MODULES[module])):
        if imported == "unet_paper":
            assert module.startswith(ABOVE_THE_PACKAGE), f"{module} imports the package it is part of"
        elif not any(is_in(module, room) and is_in(imported, room) for room in sum(FLOORS, ())):
            assert floor_of(imported) < floor_of(module), f"{module} imports {imported}, which is not below it"


@pytest.mark.parametrize("module", MODULES)
def test_the_lower_rooms_know_no_torch(module):
    names = {name.split(".")[0] for name in imports_of(MODULES[module])}
    if any(is_in(module, room) for room in WITHOUT_TORCH):
        assert "torch" not in names
    if module in LOWEST:
        assert names <= {*sys.stdlib_module_names, "unet_paper"}


def test_data_scripts_know_files_and_not_the_model():
    for module in filter(lambda name: is_in(name, "data_scripts"), MODULES):
        for imported in imports_of(MODULES[module]):
            if is_in(imported, "unet_paper"):
                assert any(is_in(imported, room) for room in WITHOUT_TORCH), f"{module} imports {imported}"


@pytest.mark.parametrize(
    "statement",
    [
        "import unet_paper.weight_map",
        "import unet_paper.metrics",
        "from unet_paper import unet_weight_map, cells_from_membranes, metrics",
        "import unet_paper.isbi",
        "import unet_paper.trained",
        "from unet_paper.commands import export, predict, score, segment, train, weight_map",
        "import data_scripts.isbi2012, data_scripts.phantom",
    ],
)
def test_torch_is_not_imported_by(statement):
    check = f"import sys; {statement}; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=True)


def test_the_table_of_contents_gives_what_it_lists():
    reused = ["UNet", "cells_from_membranes", "metrics", "predict_overlap_tile", "pretrained", "unet_weight_map"]
    assert unet_paper.__all__ == reused
    for name in unet_paper.__all__:
        assert getattr(unet_paper, name) is not None
        assert name in dir(unet_paper)
    with pytest.raises(AttributeError, match="nothing"):
        _ = unet_paper.nothing
