"""EAR's blocks against small cases done by hand, and the network made of them."""

import math

import pytest
import torch

from DualFaceReconLib.networks.attention import AttentionShortcut, ChannelAttention, SpatialAttention
from DualFaceReconLib.networks.ear import EarNetwork, EarSettings
from DualFaceReconLib.networks.edges import EdgeAttention, Gate, Residual, resampled
from DualFaceReconLib.networks.frequency import FrequencyEnhancement
from DualFaceReconLib.networks.settings import settings_from
from DualFaceReconLib.networks.weights import give_weights, weights_of

SMALL = (2, 4, 4, 6, 8)
SWITCHES = [{}, {"frequency": False}, {"edges": False}, {"shortcuts": False}, {"frequency_kernel": 3}]
PLAIN = {"frequency": False, "edges": False, "shortcuts": False}


def made(seed=0, **settings):
    torch.manual_seed(seed)
    return EarNetwork(EarSettings(**settings)).eval()


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def sigmoid(value):
    return 1 / (1 + math.exp(-value))


def parameters(network):
    return sum(values.numel() for values in network.parameters())


# ---- Attention in the shortcuts


@torch.no_grad()
def test_channels_are_weighted_by_their_mean_and_their_maximum():
    attention = ChannelAttention(1)
    attention.shared[0].weight.fill_(0.5)
    attention.shared[2].weight.fill_(0.3)
    features = torch.tensor([0.0, 1.0, 2.0, 5.0, 0.0, 0.0, 0.0, 0.0]).reshape(1, 1, 2, 2, 2)
    weight = sigmoid(0.3 * 0.5 * 1.0 + 0.3 * 0.5 * 5.0)
    assert attention(features).shape == (1, 1, 1, 1, 1)
    assert attention(features).item() == pytest.approx(weight)
    assert attention(-features).item() == pytest.approx(0.5)  # both are below 0 behind the ReLU, or 0


@torch.no_grad()
def test_voxels_are_weighted_by_the_mean_and_the_maximum_of_their_channels():
    attention = SpatialAttention()
    attention.convolution.weight.zero_()
    attention.convolution.weight[0, :, 3, 3, 3] = torch.tensor([1.0, -2.0])
    features = torch.stack([torch.zeros(3, 3, 3), torch.arange(27.0).reshape(3, 3, 3)])[None]
    weights = attention(features)
    assert weights.shape == (1, 1, 3, 3, 3)
    assert weights[0, 0, 1, 1, 1].item() == pytest.approx(sigmoid(13 / 2 - 2 * 13))


@torch.no_grad()
def test_a_shortcut_without_weights_passes_a_quarter():
    shortcut, features = AttentionShortcut(8), noise(1, 8, 4, 4, 4)
    for values in shortcut.parameters():
        values.zero_()
    torch.testing.assert_close(shortcut(features), features / 4)


# ---- Frequencies


def passing(real, imaginary, channels=1):
    """The module with a convolution that passes real and imaginary parts as so many times themselves."""
    module = FrequencyEnhancement(channels)
    with torch.no_grad():
        parts = torch.tensor([real] * channels + [imaginary] * channels)
        module.frequencies.weight.copy_(torch.diag(parts)[..., None, None, None])
    return module


@torch.no_grad()
def test_frequencies_that_pass_unchanged_are_the_magnitude_of_the_normalised_features():
    features = 3 + 2 * noise(2, 3, 4, 6, 5)
    normalised = features - features.mean((2, 3, 4), keepdim=True)
    normalised = normalised / (normalised.square().mean((2, 3, 4), keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(passing(1.0, 1.0, channels=3).of_frequencies(features), normalised.abs())


@torch.no_grad()
@pytest.mark.parametrize(("real", "imaginary", "sign"), [(1.0, 0.0, 1), (0.0, 1.0, -1)])
def test_real_parts_are_those_of_the_even_part_and_imaginary_ones_of_the_odd_part(real, imaginary, sign):
    """All that a convolution of one frequency can do: mix a volume with its point reflection."""
    module, features = passing(real, imaginary), noise(1, 1, 4, 5, 6)
    normalised = module.normalise(features)
    reflected = normalised.flip(2, 3, 4).roll((1, 1, 1), (2, 3, 4))  # voxel n to voxel -n
    expected = ((normalised + sign * reflected) / 2).abs()
    torch.testing.assert_close(module.of_frequencies(features), expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_neighbouring_frequencies_are_a_window_over_the_volume():
    """One frequency on is a wave over the volume: the sum of both neighbours along an axis is twice a cosine."""
    module, features = FrequencyEnhancement(1, kernel=3), noise(1, 1, 8, 4, 4)
    weight = torch.zeros(2, 2, 3, 3, 3)
    for part in range(2):
        weight[part, part, [0, 2], 1, 1] = 1.0
    module.frequencies.weight.copy_(weight)
    window = 2 * torch.cos(2 * math.pi * torch.arange(8) / 8)
    expected = (module.normalise(features) * window[:, None, None]).abs()
    torch.testing.assert_close(module.of_frequencies(features), expected, rtol=1e-4, atol=1e-5)


def test_frequencies_are_float32_under_autocast_and_their_slopes_are_finite():
    module, features = FrequencyEnhancement(2), torch.zeros(1, 2, 4, 4, 4, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        assert module.of_frequencies(features).dtype == torch.float32
        module(features).float().sum().backward()  # the magnitude is 0 everywhere
    assert features.grad.isfinite().all()


# ---- Edges


def untaught(module):
    """Convolutions of 0 and no bias: gates are half open, residuals are identities."""
    with torch.no_grad():
        for name, values in module.named_parameters():
            if "weight" in name and values.ndim == 5:
                values.zero_()
            if "bias" in name:
                values.zero_()
    return module.eval()


@torch.no_grad()
def test_a_gate_that_knows_nothing_adds_half_of_the_stream():
    stream = noise(1, 4, 4, 4, 4)
    torch.testing.assert_close(untaught(Gate(4, 6))(stream, noise(1, 6, 2, 2, 2)), 1.5 * stream)


@torch.no_grad()
def test_a_gate_opens_by_the_coarser_level():
    gate = untaught(Gate(1, 1))
    gate.narrow.weight.fill_(1.0)
    gate.block[0].weight[0, 1, 1, 1, 1] = 2.0  # of the joined channels the second is the coarser level's
    gate.gate[0].weight[0, 0, 1, 1, 1] = 1.0
    stream, coarser = torch.full((1, 1, 2, 2, 2), 3.0), torch.full((1, 1, 1, 1, 1), 0.7)
    normalised = 1 / math.sqrt(1 + 1e-5)  # by batch normalisation that has seen nothing, twice
    expected = 3 * sigmoid(1.4 * normalised**2) + 3
    torch.testing.assert_close(gate(stream, coarser), torch.full((1, 1, 2, 2, 2), expected))


@torch.no_grad()
def test_a_residual_block_adds_to_the_identity():
    features = noise(1, 2, 4, 4, 4)
    assert torch.equal(untaught(Residual(2))(features), features)
    taught = Residual(2).eval()
    torch.testing.assert_close(taught(features), features + taught.blocks(features))


@torch.no_grad()
def test_the_edge_map_is_the_stream_after_all_gates():
    edges = untaught(EdgeAttention((2, 4, 6)))
    edges.last.weight.fill_(1.0)
    edges.last.bias.fill_(-1.0)
    finest = noise(1, 2, 8, 8, 8)
    logits = edges([finest, noise(1, 4, 4, 4, 4), noise(1, 6, 2, 2, 2)])
    torch.testing.assert_close(logits, 1.5**2 * finest.sum(1, keepdim=True) - 1)


def test_a_map_gets_smaller_by_averages_and_larger_by_straight_lines():
    ramp = torch.arange(4.0).reshape(1, 1, 4, 1, 1).expand(1, 1, 4, 4, 4)
    assert resampled(ramp, (4, 4, 4)) is ramp
    assert resampled(ramp, (2, 2, 2))[0, 0, :, 0, 0].tolist() == [0.5, 2.5]
    assert resampled(ramp, (8, 8, 8))[0, 0, 1:-1, 3, 3].tolist() == pytest.approx([0.25 + i / 2 for i in range(6)])


# ---- The network


@torch.no_grad()
@pytest.mark.parametrize("switch", [*SWITCHES, PLAIN])
def test_a_cube_comes_out_as_large_as_it_went_in(switch):
    network = made(widths=SMALL, **switch)
    volume, logits = network.with_edges(noise(2, 2, 16, 32, 16))
    assert volume.shape == (2, 1, 16, 32, 16)
    assert volume.dtype == torch.float32
    assert volume.std() > 0
    assert (logits is None) == (switch.get("edges") is False)
    if logits is not None:
        assert logits.shape == (2, 1, 8, 16, 8)


@pytest.mark.parametrize(
    ("switch", "expected"), [({}, 1_667_946), ({"frequency": False}, 1_355_914), (PLAIN, 1_265_601)]
)
def test_how_many_weights_the_usual_widths_have(switch, expected):
    assert parameters(EarNetwork(EarSettings(**switch))) == expected


@pytest.mark.parametrize("switch", SWITCHES)
def test_every_weight_has_a_finite_slope(switch):
    network = made(widths=SMALL, **switch).train()
    volume, logits = network.with_edges(noise(2, 2, 16, 16, 16))
    (volume.square().mean() + (0 if logits is None else logits.square().mean())).backward()
    slopes = {name: values.grad for name, values in network.named_parameters()}
    assert [name for name, slope in slopes.items() if slope is None or not slope.isfinite().all()] == []
    dead = [name for name, slope in slopes.items() if not slope.any()]
    assert not [name for name in dead if not name.startswith("shortcuts")]  # a ReLU there may be closed for a cube


@torch.no_grad()
def test_cubes_of_a_batch_do_not_see_each_other_in_use():
    network, cubes = made(widths=SMALL), noise(2, 2, 16, 16, 16)
    torch.testing.assert_close(network(cubes)[:1], network(cubes[:1]), rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize(("bias", "times"), [(-100.0, 1.0), (100.0, 2.0)])
def test_an_edge_map_of_0_leaves_the_decoder_alone_and_one_of_1_doubles_its_features(bias, times):
    network, cube = made(widths=SMALL), noise(1, 2, 16, 16, 16)
    network.edges.last.weight.zero_()
    network.edges.last.bias.fill_(bias)
    without = EarNetwork(EarSettings(widths=SMALL, edges=False)).eval()
    give_weights(without, {name: v for name, v in weights_of(network).items() if not name.startswith("edges.")})
    for join in without.join:
        join.register_forward_hook(lambda module, features, output: times * output)
    torch.testing.assert_close(network(cube), without(cube), rtol=1e-4, atol=1e-5)


def test_settings_come_from_files_and_wrong_ones_are_named():
    assert settings_from(EarSettings, {"widths": [4, 8, 8, 8, 16], "edges": False}).widths == (4, 8, 8, 8, 16)
    with pytest.raises(ValueError, match="a stem and 4 levels"):
        EarSettings(widths=(8, 16, 32, 64))
    with pytest.raises(ValueError, match="1 or 3"):
        EarSettings(frequency_kernel=5)


@pytest.mark.parametrize("shape", [(1, 1, 16, 16, 16), (1, 2, 16, 16, 24), (2, 16, 16, 16)])
def test_what_is_no_pair_of_back_projected_films_is_refused(shape):
    with pytest.raises(ValueError, match="multiple of 16"):
        made(widths=SMALL)(torch.zeros(shape))
