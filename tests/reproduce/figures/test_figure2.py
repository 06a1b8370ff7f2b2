"""Figure 2: tiles at stride 384 agree with one pass, abutting ones do not, whatever the network."""

import numpy as np
import pytest
import torch

from reproduce.figures import figure2
from unet_paper.checkpoint import save_weights
from unet_paper.model import UNet


@pytest.mark.parametrize("weights", [[], ["--weights", "two.safetensors"]])
def test_tiles_at_stride_384_agree_with_one_pass_and_at_388_do_not(run, figures, capsys, weights):
    torch.manual_seed(0)
    save_weights("two.safetensors", UNet(base_channels=2), {"image_mean": 0.5, "image_std": 0.1})
    assert run(figure2, *weights) == 0
    printed = capsys.readouterr().out
    largest = {stride: float(printed.split(f"stride {stride}: ")[1].split(",")[0]) for stride in (384, 388)}
    assert largest[384] < 1e-5 < 1e-3 < largest[388]
    assert ("2-channel network of two.safetensors" if weights else "untrained network, 8 base channels") in printed
    assert (figures / "figure2.png").exists()


def test_a_difference_at_stride_384_fails(run, monkeypatch):
    monkeypatch.setattr(figure2, "predict_stack", lambda *_, stride, **__: np.full((1, 512, 512), stride / 1000))
    assert run(figure2) == 1
