"""Fixtures shared by the tests: where the real data and the golden metric cases are."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent

settings.register_profile("ci", derandomize=True, deadline=None)
if "CI" in os.environ:
    settings.load_profile("ci")


def _folder(variable, default, needed):
    for candidate in (os.environ.get(variable), ROOT / "data" / default):
        if candidate and (Path(candidate) / needed).exists():
            return Path(candidate)
    pytest.skip(f"{needed} is not at hand: set {variable} to the folder that holds it")


@pytest.fixture(scope="session")
def isbi_folder():
    """Folder with train-volume.tif, train-labels.tif and test-volume.tif."""
    return _folder("ISBI2012_DIR", "isbi2012", "train-volume.tif")


@pytest.fixture(scope="session")
def golden_folder():
    """Folder with the metric cases made from ISBI slices, which are not part of the repository."""
    return _folder("ISBI2012_GOLDEN_DIR", "golden", "isbi_labels.tif")
