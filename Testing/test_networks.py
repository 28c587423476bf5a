"""The two networks: what goes in, what comes out, and that they learn."""

import json
import subprocess
import sys
import tomllib
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_model, save_model

from DualFaceReconLib.networks.depth import DepthNetwork, DepthSettings
from DualFaceReconLib.networks.segmentation import SegmentationNetwork, SegmentationSettings
from DualFaceReconLib.networks.settings import settings_from
from training.learning.losses import casi_independent, segmentation

ROOT = Path(__file__).parent.parent
MB = 1e6
SMALL = DepthSettings(encoder="nf_regnet_b0", stages=4, bones=2, width=64)
SMALL_SEGMENTATION = SegmentationSettings(bones=2, features=(8, 16, 32))


def made(settings, seed=0):
    torch.manual_seed(seed)
    kinds = {DepthSettings: DepthNetwork, SegmentationSettings: SegmentationNetwork}
    return kinds[type(settings)](settings).eval()


def film(rows=64, columns=96, pictures=1, seed=0):
    """Smooth grey values of mean 0 and deviation 1, (B, 1, H, W)."""
    rng = torch.Generator().manual_seed(seed)
    coarse = torch.randn(pictures, 1, rows // 8, columns // 8, generator=rng)
    smooth = torch.nn.functional.interpolate(coarse, size=(rows, columns), mode="bicubic")
    return (smooth - smooth.mean()) / smooth.std()


def file_size_mb(network, path):
    """Of what a bundle holds of a network."""
    save_model(network.half(), path)
    return path.stat().st_size / MB


@pytest.fixture(scope="module")
def taught():
    """A depth network that has learnt one film: two bones that slope through 100 mm, film, truth and valid pixels."""
    network, picture = made(SMALL).train(), film(32, 48)
    down, right = torch.meshgrid(torch.linspace(-1, 1, 32), torch.linspace(-1, 1, 48), indexing="ij")
    middle = torch.stack([50 * down + 20 * right, 30 * right - 40 * down])
    thickness = 50 * (1 - down**2 / 2 - right**2 / 2)
    truth = 950 + torch.stack([middle - thickness / 2, middle + thickness / 2], dim=1).flatten(0, 1)[None]
    valid = (down**2 + right**2 < 0.7).expand(truth.shape)
    optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3)
    slower = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.02, total_iters=80)
    losses = []
    for _ in range(80):
        loss = casi_independent(network(picture).flatten(1, 2) + 950, truth, valid)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        slower.step()
        losses.append(loss.item())
    return network.eval(), picture, truth, valid, losses


# ---- Depth


@pytest.mark.parametrize(("bones", "faces"), [(1, 1), (1, 2), (3, 2), (4, 1), (4, 2)])
def test_depth_has_a_map_for_every_face_of_every_bone(bones, faces):
    network = made(DepthSettings(encoder="nf_regnet_b0", stages=3, bones=bones, faces=faces, width=32))
    depth = network(film(48, 80, pictures=2))
    assert depth.shape == (2, bones, faces, 48, 80)
    assert depth.dtype == torch.float32


@pytest.mark.parametrize(
    ("encoder", "stages", "stride"),
    [("nf_regnet_b0", None, 32), ("nf_regnet_b0", 4, 16), ("nf_resnet26", 3, 8), ("eca_nfnet_l0", 3, 8)],
)
def test_small_encoders_whole_and_without_their_last_stages(encoder, stages, stride):
    network = made(DepthSettings(encoder=encoder, stages=stages, width=32))
    assert network.stride == stride
    depth = network(film(64, 32))
    assert depth.shape == (1, 4, 2, 64, 32)
    assert depth.isfinite().all()


def test_the_papers_encoder():
    with torch.device("meta"):  # shapes alone: no arithmetic, no memory
        network = DepthNetwork(DepthSettings())
        coarsest = network.encoder(torch.empty(1, 1, 256, 192))[-1]
    assert coarsest.shape == (1, 3072, 8, 6)
    assert network.stride == 32
    assert sum(values.numel() for values in network.encoder.parameters()) == pytest.approx(68.4e6, rel=0.01)


def test_an_untrained_network_says_nearly_a_plane_at_the_depth_centre():
    depth = made(SMALL)(film())
    assert 0.1 < depth.std() < 5
    assert depth.abs().max() < 20


def test_pictures_of_a_batch_do_not_see_each_other():
    network, pictures = made(SMALL).train(), film(pictures=2)
    torch.testing.assert_close(network(pictures)[:1], network(pictures[:1]), rtol=1e-4, atol=1e-3)


def test_a_depth_network_learns_a_film(taught):
    network, picture, truth, valid, losses = taught
    assert losses[-1] < losses[0] / 5
    assert all(values.grad is not None and values.grad.isfinite().all() for values in network.parameters())
    depth = network(picture).flatten(1, 2)
    error = (depth[valid] - depth[valid].mean()) - (truth[valid] - truth[valid].mean())
    assert error.abs().mean() < 0.2 * (truth[valid] - truth[valid].mean()).abs().mean()


@torch.no_grad()
@pytest.mark.parametrize(
    ("encoder", "dtype"),
    [
        ("nf_regnet_b0", torch.bfloat16),
        ("nf_regnet_b0", torch.float16),
        ("nf_resnet26", torch.float16),
        ("eca_nfnet_l0", torch.float16),
    ],
)
def test_autocast_leaves_the_depths_of_an_untrained_network(encoder, dtype):
    """Rests on the decoder's float32 and on small first depths: the encoder's rounding is a part of what they vary."""
    network, picture = made(DepthSettings(encoder=encoder, stages=3, width=32)), film()
    with torch.autocast("cpu", dtype):
        depth = network(picture)
    assert depth.dtype == torch.float32
    assert 0 < (depth - network(picture)).abs().max() < 0.1


@torch.no_grad()
def test_float16_leaves_the_depths_of_a_taught_network(taught):
    """Depths that vary by more than a hundred millimetres: what bfloat16, three bits coarser, does not keep."""
    network, picture, _, valid, _ = taught
    exact = network(picture).flatten(1, 2)[valid]
    assert exact.max() - exact.min() > 100
    with torch.autocast("cpu", torch.float16):
        rounded = network(picture).flatten(1, 2)[valid]
    assert 0 < (rounded - exact).abs().max() < 0.1


# ---- Segmentation


@pytest.mark.parametrize("bones", [1, 3, 4])
def test_segmentation_has_a_map_for_every_bone(bones):
    network = made(SegmentationSettings(bones=bones, features=(8, 16, 32)))
    logits = network(film(48, 80, pictures=2))
    assert logits.shape == (2, bones, 48, 80)
    assert logits.dtype == torch.float32


def test_in_training_every_stage_of_the_decoder_answers_the_finest_first():
    network, picture = made(SMALL_SEGMENTATION), film()
    answers = network.train()(picture)
    assert [tuple(answer.shape) for answer in answers] == [(1, 2, 64, 96), (1, 2, 32, 48)]
    assert torch.equal(network.eval()(picture), answers[0])


def test_the_papers_segmentation_network():
    recipe = tomllib.loads((ROOT / "training" / "recipes" / "paper_segmentation.toml").read_text(encoding="utf-8"))
    with torch.device("meta"):
        network = SegmentationNetwork(settings_from(SegmentationSettings, recipe["network"]))
        coarsest = network.unet.encoder(torch.empty(1, 1, 512, 512))[-1]
    assert coarsest.shape == (1, 512, 4, 4)
    assert sum(values.numel() for values in network.parameters()) == pytest.approx(46.3e6, rel=0.01)


def test_a_segmentation_network_learns_bones_that_overlap():
    network, picture = made(SMALL_SEGMENTATION).train(), film(32, 48)
    mask = torch.zeros(1, 2, 32, 48, dtype=torch.bool)
    mask[:, 0, 4:22, 6:30], mask[:, 1, 14:30, 20:44] = True, True
    both = mask.all(1)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-2)
    losses = []
    for _ in range(60):
        loss = segmentation(network(picture), mask)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    predicted = network.eval()(picture) > 0
    assert losses[-1] < losses[0] / 2
    assert both.any()
    assert (predicted[:, 0] & predicted[:, 1])[both].float().mean() > 0.95  # two bones at one pixel
    assert (predicted == mask).float().mean() > 0.97
    assert all(values.grad is not None and values.grad.isfinite().all() for values in network.parameters())


@torch.no_grad()
def test_logits_are_float32_under_autocast():
    network, picture = made(SMALL_SEGMENTATION), film()
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(picture)
        deep = network.train()(picture)
    assert {answer.dtype for answer in (logits, *deep)} == {torch.float32}
    exact = network.eval()(picture)
    assert 0 < (logits - exact).abs().mean() < 0.05 * exact.std()


# ---- Both


@pytest.mark.parametrize("settings", [SMALL, SMALL_SEGMENTATION], ids=["depth", "segmentation"])
def test_what_is_exported_says_the_same(settings):
    network, picture = made(settings), film()
    exported = torch.export.export(network, (picture,)).module()
    other = film(seed=1)
    torch.testing.assert_close(exported(other), network(other), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("settings", [SMALL, SMALL_SEGMENTATION], ids=["depth", "segmentation"])
@pytest.mark.parametrize("shape", [(1, 1, 60, 97), (1, 3, 64, 64), (1, 64, 64)])
def test_films_that_do_not_fit_are_refused(settings, shape):
    network = made(settings)
    with pytest.raises(ValueError, match=f"multiples of {network.stride}"):
        network(torch.zeros(shape))


@pytest.mark.parametrize(
    "settings",
    [DepthSettings(encoder="nf_regnet_b0", stages=4, bones=3, faces=1), SegmentationSettings(bones=3, convolutions=1)],
    ids=["depth", "segmentation"],
)
def test_settings_go_to_json_and_back(settings):
    assert settings_from(type(settings), json.loads(json.dumps(asdict(settings)))) == settings


@pytest.mark.parametrize(
    ("kind", "values", "reason"),
    [
        (DepthSettings, {"widht": 64}, "'widht' is no setting of this network: it has encoder, stages"),
        (DepthSettings, {"width": "64"}, "width cannot be '64'"),
        (DepthSettings, {"bones": True}, "bones cannot be True"),
        (DepthSettings, {"stages": 2.5}, "stages cannot be 2.5"),
        (SegmentationSettings, {"features": 16}, "features cannot be 16"),
        (SegmentationSettings, {"features": [16, None]}, r"features cannot be \[16, None\]"),
        (SegmentationSettings, {"features": [16, -1]}, "at least one bone"),
    ],
)
def test_settings_of_a_file_are_refused_by_name(kind, values, reason):
    with pytest.raises(ValueError, match=reason):
        settings_from(kind, values)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"encoder": "hf-hub:timm/dm_nfnet_f0.dm_in1k"}, "no encoder"),  # timm would fetch it
        ({"encoder": "no_such"}, "no encoder"),
        ({"faces": 3}, "one or two faces"),
        ({"bones": 0}, "at least one bone"),
        ({"stages": 0}, "at least one stage"),
        ({"encoder": "nf_regnet_b0", "stages": 6}, "fewer than 6 stages"),
        ({"width": 8}, "32 or more"),
        ({"width": 36}, "multiple of 8"),
    ],
)
def test_depth_networks_that_cannot_be_built_are_refused(wrong, reason):
    with pytest.raises(ValueError, match=reason):
        DepthNetwork(DepthSettings(**wrong))


@pytest.mark.parametrize("wrong", [{"bones": 0}, {"features": (16,)}, {"convolutions": 0}])
def test_segmentation_networks_that_cannot_be_built_are_refused(wrong):
    with pytest.raises(ValueError, match="at least one bone"):
        SegmentationSettings(**wrong)


def test_what_ships_is_small(tmp_path):
    """In half precision, as it is in the bundle: 7 MB for depth and 5 for segmentation."""
    depth = DepthNetwork(DepthSettings(encoder="nf_regnet_b0", stages=4))
    assert 4 < file_size_mb(depth, tmp_path / "depth.safetensors") < 5
    bones = SegmentationNetwork(SegmentationSettings())
    assert 2 < file_size_mb(bones, tmp_path / "segmentation.safetensors") < 3


@torch.no_grad()
@pytest.mark.parametrize("settings", [SMALL, SMALL_SEGMENTATION], ids=["depth", "segmentation"])
def test_weights_go_to_a_file_and_back(settings, tmp_path):
    network, other = made(settings), made(settings, seed=1)
    save_model(network, tmp_path / "weights.safetensors")
    load_model(other, tmp_path / "weights.safetensors")
    assert torch.equal(network(film()), other(film()))


# ---- torchvision and timm


def python(program):
    return subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, cwd=ROOT)


def test_timm_is_imported_beside_whatever_torchvision_there_is():
    done = python("import DualFaceReconLib.networks, timm, torchvision; print(timm.is_model('dm_nfnet_f0'))")
    assert done.stdout.strip() == "True", done.stderr


def test_operators_of_a_torchvision_that_works_are_not_declared_again():
    """Stands in for its library by declaring what that declares: a second declaration would be an error."""
    done = python(
        "from torch.library import define\n"
        "for name in ('nms', 'qnms'):\n"
        "    define(f'torchvision::{name}', '(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')\n"
        "import DualFaceReconLib.networks; print('imported')"
    )
    assert done.stdout.strip() == "imported", done.stderr


def test_without_torchvision_the_error_names_it():
    done = python("import sys; sys.modules['torchvision'] = None; import DualFaceReconLib.networks")
    assert done.returncode == 1
    assert "torchvision" in done.stderr.splitlines()[-1]
    assert "ModuleNotFoundError" in done.stderr.splitlines()[-1]
