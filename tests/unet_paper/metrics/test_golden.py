"""Every value of the challenge's official implementation, at every threshold and in every slice.

The ISBI cases need a folder that is not part of the repository (`golden_folder`) and are skipped without it.
"""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import tifffile

from unet_paper.metrics import score

HERE = Path(__file__).parent / "golden"
ISBI = (
    *("isbi_self", "isbi_dil1", "isbi_gaps", "isbi_splits", "isbi_blur2", "isbi_raw", "isbi_shift2"),
    *("isbi_allmembrane", "isbi_allcell", "isbi_uint8mask", "isbi_inverted"),
)


@cache
def cases(folder):
    return json.loads((folder / "golden.json").read_text())


@pytest.fixture(scope="module", params=[*cases(HERE), *ISBI])
def case(request):
    """The official values of one case, and ours."""
    folder = request.getfixturevalue("golden_folder") if request.param in ISBI else HERE
    official = cases(folder)[request.param]
    labels, proposal = (tifffile.imread(folder / official[name]) for name in ("labels", "proposal"))
    return official, score(labels, proposal)


def close(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-9)


def test_the_list_of_isbi_cases_is_complete(golden_folder):
    assert set(cases(golden_folder)) == {*cases(HERE), *ISBI}


def test_thresholds(case):
    official, ours = case
    assert ours.v_rand.thresholds.tolist() == official["thresholds_to_1"]
    assert ours.warping_error.thresholds.tolist() == official["thresholds_to_0.9"]


def test_pixel_error(case):
    official, ours = case
    close(1 - ours.pixel_error.values, official["pixel_fscore_by_th"])
    close(ours.pixel_error.value, official["pixel_error_1_minus_max_fscore"])


def test_rand_error(case):
    official, ours = case
    close(1 - ours.rand_error.values, official["rand_fgr_fscore_by_th"])
    close(ours.rand_error.value, 1 - official["rand_fgr_fscore_best"])


@pytest.mark.parametrize("name", ["v_rand", "v_info"])
def test_v_rand_and_v_info(case, name):
    official, ours = case
    ours, key = getattr(ours, name), name.replace("_", "") + "_thinned"
    close(ours.values, official[f"{key}_by_th"])
    close(ours.per_slice.T, official[f"{key}_per_slice_by_th"])
    close(ours.value, official[f"{key}_best"])
    assert ours.threshold == official[f"{key}_best_threshold"]


def test_warping_error(case):
    official, ours = case
    ours = ours.warping_error
    close(ours.values, official["warping_sm_r20_by_th"])
    close(ours.classic_values, official["warping_classic_by_th"])
    close(ours.value, official["warping_sm_r20_best"])
    assert ours.threshold == official["warping_sm_r20_best_threshold"]


def test_counts_of_all_six_warping_mismatches_are_exact(case):
    official, ours = case
    ours = ours.warping_error
    np.testing.assert_array_equal(ours.counts.reshape(-1, 6), official["warping_types_r20_by_th_x_slice"])
    best = ours.counts[ours.thresholds.tolist().index(ours.threshold)]
    np.testing.assert_array_equal(ours.merges.sum(axis=(1, 2)), best[:, 2])
    np.testing.assert_array_equal(ours.splits.sum(axis=(1, 2)), best[:, 5])
