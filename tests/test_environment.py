"""pyproject.toml, constraints.txt, environment.yml and CITATION.cff speak of one environment and one version."""

import re
import tomllib
from importlib import metadata
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import unet_paper

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
OF_THE_PLATFORM = re.compile("nvidia|cuda|triton|setuptools|colorama")  # what only some machines need
EXTRAS = ("test", "export")  # the tests of export run where it is installed


def direct_requirements(*extras):
    lists = PROJECT["dependencies"], *(PROJECT["optional-dependencies"][name] for name in extras)
    return {canonicalize_name(r.name): r for r in map(Requirement, chain(*lists))}


def pinned(*extras):
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    if "export" not in extras:
        text, _ = text.split("# And of the extra export")
    pins = (line.split("==") for line in text.splitlines() if not line.startswith("#"))
    return {canonicalize_name(name): Version(version) for name, version in pins}


def conda_lines():
    lines = (ROOT / "environment.yml").read_text(encoding="utf-8").splitlines()
    return [line.strip().removeprefix("- ") for line in lines if line.strip().startswith("- ")]


def installed_closure(*extras):
    """Every installed package that pyproject.toml asks for, directly or not."""
    found, todo = set(), list(direct_requirements(*extras))
    while todo:
        name = todo.pop()
        if name in found:
            continue
        found.add(name)
        for requirement in map(Requirement, metadata.requires(name) or ()):
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                todo.append(canonicalize_name(requirement.name))
    return {name for name in found if not OF_THE_PLATFORM.match(name)}


def test_every_requirement_is_pinned_within_its_bounds():
    for name, requirement in direct_requirements(*EXTRAS).items():
        assert pinned(*EXTRAS)[name] in requirement.specifier, name


def test_every_requirement_has_a_lower_bound_and_no_upper_one():
    for requirement in direct_requirements("test").values():
        assert [part.operator for part in requirement.specifier] == [">="], requirement


def test_the_tests_need_what_the_extras_need():
    extras = PROJECT["optional-dependencies"]
    for name in extras.keys() - {*EXTRAS}:
        assert set(extras[name]) <= {*extras["test"]}, name


def test_pins_are_public_versions_which_every_index_has():
    assert all(version.local is None for version in pinned(*EXTRAS).values())
    assert str(pinned("test")["torch"]) == "2.13.0"


@pytest.mark.parametrize("extras", [["test"], EXTRAS], ids="+".join)
def test_constraints_hold_the_whole_environment_and_nothing_else(extras):
    pins = pinned(*extras)
    differing = [name for name, version in pins.items() if Version(_installed(name)).public != version.public]
    if differing:
        pytest.skip(f"this environment has other versions of {', '.join(differing)}")
    assert installed_closure(*extras) == set(pins)


def _installed(name):
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "0"


def test_conda_installs_what_pip_installs():
    lines = conda_lines()
    assert lines[lines.index("pip:") + 1 :] == ["-c constraints.txt", "-e .[test]"]
    (python,) = (line for line in lines if line.startswith("python="))
    assert Requirement(f"python{PROJECT['requires-python']}").specifier.contains(python.removeprefix("python="))


def test_the_version_is_told_once():
    assert unet_paper.__version__ == PROJECT["version"]
    assert f"\nversion: {PROJECT['version']}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
