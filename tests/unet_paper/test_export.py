"""The bioimage.io package: other programs' predictions from it are ours, and it needs nothing else."""

import gc
import resource
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch

from data_scripts.isbi2012 import SHA256
from data_scripts.phantom import make_phantom
from unet_paper import export as module
from unet_paper.errors import InputError
from unet_paper.model import UNet
from unet_paper.predict import predict_stack

ROOT = module.DOCUMENTATION.parents[1]
MEAN, STD = 0.55, 0.13
METADATA = {"image_mean": MEAN, "image_std": STD, "seed": 7}
ISBI = {
    "data": {"train-volume": SHA256["train-volume.tif"]},
    "held_out": {"slices": [24, 25], "scores": {"v_rand": 0.9741}},
    "voxel_nm": [50.0, 3.0, 4.0],
}
FORMATS = ("pytorch_state_dict", "torchscript", "onnx")
IMAGE = make_phantom(1, 352, 416, seed=0)[0]

pytestmark = pytest.mark.filterwarnings("ignore")  # of the packages that read the package


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(1)
    network = UNet(base_channels=4)
    for name, bias in network.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(bias, std=0.1)
    return network.eval()


@pytest.fixture(scope="module")
def package(model, tmp_path_factory):
    for name in ("bioimageio.core", "onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(name, reason=f"{name} is not installed: the extra unet-paper[export]")
    path = tmp_path_factory.mktemp("export") / "unet.zip"
    module.export(path, model, METADATA | ISBI)
    yield path
    gc.collect()  # files that bioimageio.spec leaves open, before a test that would be told


@pytest.fixture(scope="module")
def unpacked(package):
    folder = package.with_suffix("")
    with zipfile.ZipFile(package) as file:
        file.extractall(folder)
    return folder


@pytest.fixture(scope="module")
def expected(model):
    """Our map of the image, (1, H, W)."""
    images = IMAGE / np.float32(255)
    probability = predict_stack(model, images, mean=MEAN, std=STD, rotations="none", precision="float32")
    assert probability.std() > 0.1  # an even map would be in phase with any other
    return probability


def normalised(image):
    return ((image / np.float32(255) - MEAN) / STD).astype(np.float32)[:, None]


def test_the_network_of_the_package_gives_our_map(model, expected):
    network = module.CellProbability(**vars(model.config)).eval()
    network.load_state_dict(model.state_dict())
    with torch.no_grad():
        found = network(torch.from_numpy(normalised(IMAGE)))
    np.testing.assert_allclose(found[0], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("weights", FORMATS)
def test_the_format_s_own_test_passes(package, weights):
    from bioimageio.core import test_model as format_test

    summary = format_test(package, weight_format=weights, devices=["cpu"])
    assert summary.status == "passed", summary.format()


@pytest.mark.parametrize("blocks", [None, 8])  # one pass, or blocks of 208 + 16 * 8 px
@pytest.mark.parametrize("weights", FORMATS)
def test_the_prediction_of_the_format_s_library_is_ours_whole_or_in_blocks(package, expected, weights, blocks):
    from bioimageio.core import create_prediction_pipeline, load_model_description, predict

    pipeline = create_prediction_pipeline(load_model_description(package), weight_format=weights, devices=["cpu"])
    result = predict(model=pipeline, inputs={"image": IMAGE[:, None]}, blocksize_parameter=blocks)
    found = np.asarray(result.members["probability"].data)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[0], expected, rtol=0, atol=2e-6)


def test_onnx_and_torchscript_alone_give_our_map_at_any_size_and_number_of_images(unpacked, expected):
    import onnxruntime

    image = normalised(np.concatenate([IMAGE, 255 - IMAGE]))
    session = onnxruntime.InferenceSession(unpacked / "weights.onnx", providers=["CPUExecutionProvider"])
    network = torch.jit.load(unpacked / "torchscript.pt")
    for found in (session.run(None, {"image": image})[0], network(torch.from_numpy(image)).detach().numpy()):
        np.testing.assert_allclose(found[0], expected, rtol=0, atol=1e-5)


ALONE = """
import sys
import numpy as np
import torch
sys.path.insert(0, ".")
import architecture
network = architecture.CellProbability(base_channels=4)
network.load_state_dict(torch.load("weights.pt", weights_only=True))
assert not [name for name in sys.modules if name.startswith("unet_paper")]
with torch.no_grad():
    np.save("found.npy", network.eval()(torch.from_numpy(np.load("normalised.npy"))))
try:
    network(torch.zeros(1, 1, 209, 208))
except architecture.InputError as error:
    print(error)
"""


def test_architecture_and_state_dict_need_nothing_but_pytorch(unpacked, expected, model):
    np.save(unpacked / "normalised.npy", normalised(IMAGE))
    done = subprocess.run([sys.executable, "-I", "-c", ALONE], cwd=unpacked, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "input side 397 is not 16*k + 60 with k >= 8; nearest legal: 396, 412\n"
    np.testing.assert_allclose(np.load(unpacked / "found.npy")[0], expected, rtol=0, atol=2e-6)
    stored = torch.load(unpacked / "weights.pt", weights_only=True)
    assert stored.keys() == model.state_dict().keys()
    assert {value.dtype for value in stored.values()} == {torch.float32}


def test_the_description_says_where_data_scores_and_terms_come_from(package, unpacked):
    from bioimageio.core import load_model_description

    description = load_model_description(package)
    assert [str(entry.doi) for entry in description.cite] == [entry["doi"] for entry in (module.PAPER, *module.DATA)]
    for tensor in (*description.inputs, *description.outputs):
        assert [(axis.id, axis.unit, axis.scale) for axis in tensor.axes[2:]] == [
            ("y", "nanometer", 3.0),
            ("x", "nanometer", 4.0),
        ]
    assert description.weights.onnx.parent == description.weights.torchscript.parent == "pytorch_state_dict"
    text = (unpacked / "README.md").read_text(encoding="utf-8")
    for part in ("## Validation", '- scores: {"v_rand": 0.9741}', "- seed: 7", "non-commercial", "3 x 4 nm"):
        assert part in text


def test_networks_of_other_data_claim_neither_its_scores_nor_its_terms():
    text = module.documentation(UNet(base_channels=2).config, METADATA)
    assert module.UNSCORED in text
    for part in ("non-commercial", " nm", "ISBI", "None"):
        assert part not in text


def test_a_network_that_went_on_from_the_challenge_s_keeps_its_terms():
    begun = METADATA | {"data": {"train-volume": module.ISBI_IMAGES}}
    text = module.documentation(UNet(base_channels=2).config, METADATA | {"init": METADATA | {"init": begun}})
    assert module.ISBI_TERMS in text
    assert module.OTHER_TERMS in text
    assert module.OTHER_TERMS not in module.documentation(UNet(base_channels=2).config, begun)


def test_the_authors_and_sources_are_those_to_cite():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"- name: {module.AUTHORS}\n" in citation
    for entry in (module.PAPER, *module.DATA):
        assert f"doi: {entry['doi']}\n" in citation
    assert SHA256["train-volume.tif"] == module.ISBI_IMAGES


def test_the_test_image_has_the_gray_values_of_the_training():
    image = module.example_image(256, MEAN, STD) / 255
    assert image.mean() == pytest.approx(MEAN, abs=0.01)
    assert image.std() == pytest.approx(STD, abs=0.01)


@pytest.mark.parametrize(
    ("name", "sizes", "message"),
    [
        ("unet.tar", {}, "must end in .zip"),
        ("unet.zip", {"n_classes": 3}, "must have 1 channel"),
        ("no/a.zip", {}, "folder"),
    ],
)
def test_a_package_that_cannot_be_is_told(package, tmp_path, name, sizes, message):
    with pytest.raises(InputError, match=message):
        module.export(tmp_path / name, UNet(base_channels=2, **sizes), METADATA)
    assert not list(tmp_path.iterdir())


def test_a_disk_that_fills_up_is_told_and_leaves_the_old_package(package, model, tmp_path):
    (tmp_path / "unet.zip").write_bytes(b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, limits[1]))  # above the test images, below the weights
    try:
        with pytest.raises(InputError, match=r"cannot write .*unet\.zip: File too large"):
            module.export(tmp_path / "unet.zip", model, METADATA)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]
