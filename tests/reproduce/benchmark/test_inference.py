"""Segmentation in the benchmark: the library's `predict_stack` on one slice and on the stack in each form."""

from functools import partial

import pytest

from reproduce.benchmark import inference
from reproduce.benchmark.inference import benchmark_inference
from reproduce.benchmark.networks import NETWORKS, monai_unet
from reproduce.benchmark.timing import LEAST, count_operations
from unet_paper.predict import predict_stack


def test_one_slice_and_the_stack_go_through_predict_stack(bench, config, stack, bfloat16, asked):
    pytest.importorskip("monai")
    images = stack.images[:2]
    rows = {
        (r.name, r.conditions["form"], r.conditions["rotations"]): r
        for r in benchmark_inference(bench, config.network, images)
    }
    for (name, form, rotations), row in rows.items():
        if form == "TF32":
            assert (row.measures, row.conditions["skipped"]) == ({}, "needs a GPU")
            continue
        slices = {"none": 1, "eight": 2}[rotations]
        assert row.conditions == {"group": "segmentation", "form": form, "rotations": rotations, "slices": slices}
        assert row.measures["median_seconds"] == 1
        assert row.measures["megapixel_seconds"] == pytest.approx(1e6 / (slices * 64 * 64))
        single = rows[name, form, "none"].measures["work_gigaflop"]
        assert row.measures["work_gigaflop"] == pytest.approx(single * {"none": 1, "eight": 8 * 2}[rotations])
        assert row.measures["peak_bytes"] > 0
    names = [network.name for network in NETWORKS]
    assert list(rows) == [(n, f, r) for n in names for f in ("float32", "TF32", "bfloat16") for r in ("none", "eight")]
    measured = 1 + LEAST  # after one call that counts the work
    precisions, rotations = ([call[key] for call in asked] for key in ("precision", "rotations"))
    assert precisions == (["float32"] * 2 * (1 + measured) + ["bfloat16"] * 2 * (1 + measured)) * 2
    assert rotations == ([*["none"] * (1 + measured), "none", *["eight"] * measured]) * 4
    assert [call["slices"] for call in asked] == [1 if r == "none" else 2 for r in rotations]
    assert [call.get("margin") for call in asked] == [None] * (len(asked) // 2) + [0] * (len(asked) // 2)


def test_the_work_is_that_of_the_network_on_one_slice(bench, config, stack, monkeypatch):
    pytest.importorskip("monai")
    monkeypatch.setattr(inference, "NETWORKS", NETWORKS[1:2])
    row = next(benchmark_inference(bench, config.network, stack.images))
    model = monai_unet(config.network).eval()
    image = partial(predict_stack, model, stack.images[:1], mean=0.0, std=1.0, rotations="none", precision="float32")
    assert row.measures["work_gigaflop"] * 1e9 == count_operations(lambda: image(tile=64, stride=64, margin=0))
