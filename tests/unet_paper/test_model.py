"""The network against Figure 1: a straight transcription, parameters, sizes, initialisation, reach and dropout."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from unet_paper.errors import InputError
from unet_paper.model import UNet, centre_crop

REACH = {0: 4, 1: 13, 2: 31, 3: 67, 4: 107}


@pytest.fixture(scope="module")
def paper_network():
    with torch.device("meta"):
        return UNet()


def figure_1(state, image, *, training):
    """Figure 1 and the end of section 3.1 line by line, with the weights of a `UNet`."""

    def convolved(x, name):
        for i in (0, 2):
            x = F.relu(F.conv2d(x, state[f"{name}.{i}.weight"], state[f"{name}.{i}.bias"]))
        return x

    def up_and_joined(x, skip, level):
        weight, bias = (state[f"up_convolutions.{level}.0.{name}"] for name in ("weight", "bias"))
        x = F.relu(F.conv_transpose2d(x, weight, bias, stride=2))
        border = (skip.shape[-1] - x.shape[-1]) // 2  # 4, 16, 40, 88
        return torch.cat([x, skip[..., border:-border, border:-border]], dim=1)

    skip_0 = convolved(image, "contracting.0")
    skip_1 = convolved(F.max_pool2d(skip_0, 2), "contracting.1")
    skip_2 = convolved(F.max_pool2d(skip_1, 2), "contracting.2")
    skip_3 = F.dropout(convolved(F.max_pool2d(skip_2, 2), "contracting.3"), 0.5, training)
    x = F.dropout(convolved(F.max_pool2d(skip_3, 2), "contracting.4"), 0.5, training)
    x = convolved(up_and_joined(x, skip_3, 3), "expansive.3")
    x = convolved(up_and_joined(x, skip_2, 2), "expansive.2")
    x = convolved(up_and_joined(x, skip_1, 1), "expansive.1")
    x = convolved(up_and_joined(x, skip_0, 0), "expansive.0")
    return F.conv2d(x, state["score.weight"], state["score.bias"])


@pytest.mark.parametrize("training", [False, True])
def test_the_network_is_a_straight_transcription_of_figure_1(training):
    torch.manual_seed(0)
    network = UNet(base_channels=3).double().train(training)
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(parameter, std=0.1)
    image = torch.randn(2, 1, 188, 204, dtype=torch.float64)
    torch.manual_seed(1)  # of both dropout masks
    want = figure_1(network.state_dict(), image, training=training)
    torch.manual_seed(1)
    torch.testing.assert_close(network(image), want)
    assert want.std() > 0.1


def test_parameters_and_layers_of_the_paper(paper_network):
    assert sum(p.numel() for p in paper_network.parameters()) == 31_030_658
    convolutions = [m for m in paper_network.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    assert len(convolutions) == 23
    assert all(m.bias is not None and tuple(m.padding) == (0, 0) for m in convolutions)
    assert [m.kernel_size for m in convolutions].count((3, 3)) == 18
    assert [m.kernel_size for m in convolutions].count((2, 2)) == 4
    assert [m.kernel_size for m in convolutions].count((1, 1)) == 1


def test_every_size_of_figure_1(paper_network):
    seen = []
    hooks = [
        m.register_forward_hook(lambda m, i, o: seen.append(tuple(o.shape[1:])))
        for m in paper_network.modules()
        if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)
    ]
    paper_network(torch.empty(1, 1, 572, 572, device="meta"))
    for hook in hooks:
        hook.remove()
    contracting = [(64, 570), (64, 568), (128, 282), (128, 280), (256, 138), (256, 136), (512, 66), (512, 64)]
    bottom = [(1024, 30), (1024, 28)]
    expansive = [(512, 56), (512, 54), (512, 52), (256, 104), (256, 102), (256, 100)]
    expansive += [(128, 200), (128, 198), (128, 196), (64, 392), (64, 390), (64, 388)]
    expected = contracting + bottom + expansive + [(2, 388)]
    assert seen == [(channels, side, side) for channels, side in expected]


def test_other_sizes_and_rectangles(paper_network):
    assert paper_network(torch.empty(2, 1, 188, 700, device="meta")).shape == (2, 2, 4, 516)


def test_illegal_side_names_the_nearest_legal_ones(paper_network):
    with pytest.raises(InputError, match=r"input side 512 .* nearest legal: 508, 524"):
        paper_network(torch.empty(1, 1, 572, 512, device="meta"))


@pytest.mark.parametrize("wrong", [{"dropout": 1.0}, {"dropout": -0.1}, {"depth": 0}, {"base_channels": 0}])
def test_impossible_networks_are_refused(wrong):
    with pytest.raises(InputError):
        UNet(**wrong)


def test_weights_are_he_normal_by_incoming_nodes_and_biases_zero():
    torch.manual_seed(0)
    network = UNet(base_channels=32, depth=2)
    checked = 0
    for module in network.modules():
        if not isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            continue
        assert not module.bias.any()
        weight = module.weight.detach()
        nodes = weight[0].numel()  # Caffe's count / num: of the input's channels, or of the output's going up
        if weight.numel() > 1000:
            standard_error = np.sqrt(2 / nodes) / np.sqrt(2 * weight.numel())
            assert abs(weight.std().item() - np.sqrt(2 / nodes)) < 5 * standard_error
            assert abs(weight.mean().item()) < 5 * np.sqrt(2 / nodes / weight.numel())
            beyond = (weight.abs() > 2 * np.sqrt(2 / nodes)).double().mean().item()  # none of a uniform distribution
            assert beyond == pytest.approx(0.0455, abs=5 * np.sqrt(0.0455 / weight.numel()))
            checked += 1
    assert checked >= 10


@pytest.mark.parametrize("level", [0, 1, 2, 3, 4])
def test_skips_are_centred(level):
    """A change of one input pixel moves outputs exactly in a window centred on that pixel.

    All weights are positive and all skips but one (or all, for the path through the bottom) are cut,
    so that no contribution cancels and the window of that path is seen alone.
    """
    network = UNet(base_channels=1, dropout=0.0).double().eval()
    for p in network.parameters():
        nn.init.constant_(p, 0.5)
    for i, convolutions in enumerate(network.expansive):  # inputs are [upsampled, skip]
        convolutions[0].weight.data[:, : convolutions[0].in_channels // 2] *= float(level > i)
        convolutions[0].weight.data[:, convolutions[0].in_channels // 2 :] *= float(level == i)
    size, out = 476, 292
    image = torch.rand(1, 1, size, 188, dtype=torch.float64)
    with torch.no_grad():
        before = network(image)
        widths = []
        for position in range(size // 2, size // 2 + 16):  # one period of the network
            changed = image.clone()
            changed[0, 0, position, 94] += 1e3
            rows = ((network(changed) - before)[0, 0].abs().amax(1) > 0).nonzero().ravel()
            assert len(rows)
            widths.append((rows.min().item(), rows.max().item(), position - (size - out) // 2))
    low = min(first - centre for first, _, centre in widths)
    high = max(last - centre for _, last, centre in widths)
    assert low == -high  # over all phases the window is symmetric about the pixel
    assert high == REACH[level]


def test_the_receptive_field_is_188_or_204_by_phase():
    network = UNet(base_channels=1, dropout=0.0).double().eval()
    network.pool = nn.AvgPool2d(2)  # as far as the maximum, and with a gradient to each of the four
    for p in network.parameters():
        nn.init.constant_(p, 0.5)
    image = torch.rand(1, 1, 204, 204, dtype=torch.float64, requires_grad=True)
    output = network(image)[0, 0]  # (20, 20)
    extents = []
    for i in range(16):  # one period
        (gradient,) = torch.autograd.grad(output[i, i], image, retain_graph=True)
        rows = gradient[0, 0].any(1).nonzero().ravel()
        extents.append((rows.max() - rows.min() + 1).item())
    assert extents == [188] * 4 + [204] * 12


def test_dropout_is_elementwise_on_the_two_deepest_levels():
    torch.manual_seed(0)
    network = UNet(base_channels=4).train()
    shapes, zeros = [], []

    def look(module, inputs, output):
        shapes.append(tuple(output.shape[1:]))
        alive = inputs[0] > 0
        zeros.append((output[alive] == 0).float().mean().item())
        kept = alive & (output != 0)
        torch.testing.assert_close(output[kept], 2 * inputs[0][kept])
        n = alive.flatten(2).sum(2)  # of every channel
        share = ((output == 0) & alive).flatten(2).sum(2) / n.clamp(min=1)
        assert (n > 100).any()
        assert ((share > 0.2) & (share < 0.8))[n > 100].all()

    network.dropout.register_forward_hook(look)
    network(torch.randn(1, 1, 572, 572))
    assert shapes == [(32, 64, 64), (64, 28, 28)]
    assert all(abs(z - 0.5) < 0.05 for z in zeros)


def test_centre_crop_takes_the_same_from_opposite_sides():
    x = torch.arange(64).view(1, 1, 8, 8)
    assert torch.equal(centre_crop(x, (4, 6)), x[..., 2:6, 1:7])


def test_shift_by_the_period_shifts_the_output():
    network = UNet(base_channels=2, dropout=0.0).double().eval()
    image = torch.randn(1, 1, 220, 220, dtype=torch.float64)
    with torch.no_grad():
        whole = network(image)
        torch.testing.assert_close(network(image[..., 16:, 16:]), whole[..., 16:, 16:])
        assert not torch.allclose(network(image[..., 8:212, 8:212]), whole[..., 8:28, 8:28])


def test_the_gradient_of_a_crop_has_the_layout_of_what_is_cropped():
    x, gradients = torch.randn(1, 8, 9, 10, requires_grad=True).contiguous(memory_format=torch.channels_last), []
    x.register_hook(gradients.append)  # before it takes the layout of the leaf
    joined = torch.full((1, 16, 4, 7), 2.0).contiguous(memory_format=torch.channels_last)
    centre_crop(x, (4, 7)).backward(joined[:, 8:])  # a part of the channels, as a concatenation hands it back
    assert gradients[0].is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(gradients[0], 2 * torch.nn.functional.pad(torch.ones(1, 8, 4, 7), (1, 2, 2, 3)))
