"""EAR's losses and figures of volumes against arithmetic done by hand."""

import math

import numpy as np
import pytest
import torch

from training.judging import volumes
from training.learning import volume_losses
from training.learning.volume_losses import EdgeScale, LossWeights, volume_loss

SCALE = EdgeScale(middle=0.5, width=0.1)
HARD = EdgeScale(middle=0.5, width=1e-3)  # bone is 0 or 1


def volume(values, dtype=torch.float64):
    """(1, 1, n, n, n) of nested numbers."""
    return torch.as_tensor(values, dtype=dtype)[None, None]


def noise(count=1, side=6, seed=0):
    return torch.randn(count, 1, side, side, side, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def block(side=8, low=3, high=5, value=1.0):
    """A small cube of bone in a larger one."""
    cube = torch.zeros(1, 1, side, side, side, dtype=torch.float64)
    cube[..., low:high, low:high, low:high] = value
    return cube


# ---- Equations 5 to 10 by hand


def test_equation_5_is_the_mean_absolute_error():
    truth = volume([[[1.0, 2.0], [3.0, 4.0]], [[0.0, 0.0], [0.0, 0.0]]])
    predicted = truth + volume([[[1.0, -2.0], [0.0, 0.0]], [[0.0, 0.0], [5.0, 0.0]]])
    assert volume_losses.reconstruction(predicted, truth).item() == pytest.approx(8 / 8)


def test_edges_are_one_voxel_on_either_side_of_a_surface():
    found = volume_losses.edges(block(side=9, low=3, high=6), HARD)[0, 0]
    expected = torch.zeros(9, 9, 9, dtype=torch.float64)
    expected[2:7, 2:7, 2:7] = 1
    expected[4, 4, 4] = 0  # its 26 neighbours are bone, too
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_edges_of_a_soft_step_are_as_high_as_the_step():
    """Along one axis bone goes from sigmoid(-1) to sigmoid(1)."""
    step = torch.full((1, 1, 4, 3, 3), 0.4, dtype=torch.float64)
    step[:, :, 2:] = 0.6
    height = 1 / (1 + math.exp(-1)) - 1 / (1 + math.exp(1))
    assert volume_losses.edges(step, SCALE)[0, 0, :, 1, 1].tolist() == pytest.approx([0, height, height, 0])


def test_equation_6_is_the_cross_entropy_of_edges():
    truth, flat = block(side=9, low=3, high=6), torch.zeros(1, 1, 9, 9, 9, dtype=torch.float64)
    missed = 5**3 - 1  # voxels of edge, of which there is none in a flat volume
    expected = (-missed * math.log(1e-6) - (9**3 - missed) * math.log(1 - 1e-6)) / 9**3
    assert volume_losses.edge(flat, truth, HARD).item() == pytest.approx(expected)
    assert volume_losses.edge(truth, truth, HARD).item() == pytest.approx(0, abs=1e-5)


def test_an_edge_map_is_held_against_the_edges_at_its_own_size():
    truth = block(side=8, low=2, high=6)
    share = torch.nn.functional.avg_pool3d(volume_losses.edges(truth, HARD), 2)
    logits = torch.zeros(1, 1, 4, 4, 4, dtype=torch.float64)
    assert volume_losses.edge_map(logits, truth, HARD).item() == pytest.approx(math.log(2))
    exact = torch.logit(share.clamp(1e-9, 1 - 1e-9))
    entropy = -(torch.xlogy(share, share) + torch.xlogy(1 - share, 1 - share)).mean()
    assert volume_losses.edge_map(exact, truth, HARD).item() == pytest.approx(entropy.item(), abs=1e-6)


def test_equations_7_and_8_of_one_voxel():
    """A voxel in the corner is the same real number at every frequency, 1 / sqrt(8) of its value, and no other part."""
    truth = torch.zeros(1, 1, 2, 2, 2, dtype=torch.float64)
    predicted = truth.clone()
    predicted[0, 0, 0, 0, 0] = 4.0
    for euclidean in (True, False):
        real, imaginary = volume_losses.spectral_distances(predicted, truth, euclidean)
        assert real.item() == pytest.approx(4 / math.sqrt(8))
        assert imaginary.item() == pytest.approx(0, abs=2e-6)
        value = volume_losses.frequency(predicted, truth, euclidean).item()
        assert value == pytest.approx(math.log10(4 / math.sqrt(8)), abs=1e-5)


def test_a_wave_is_where_the_two_readings_part():
    """A cosine of four voxels along one axis: sqrt(N) / 2 at two frequencies of N = 64, and 0 at all others."""
    wave = torch.cos(2 * math.pi * torch.arange(4, dtype=torch.float64) / 4)[:, None, None].expand(4, 4, 4)
    truth = torch.zeros(1, 1, 4, 4, 4, dtype=torch.float64)
    euclidean, absolute = (
        volume_losses.spectral_distances(truth + wave, truth, way)[0].item() for way in (True, False)
    )
    assert euclidean == pytest.approx(math.sqrt(2 * 4**2 / 64))
    assert absolute == pytest.approx(2 * 4 / 64)


def test_by_parseval_the_euclidean_frequency_loss_is_a_logarithm_of_the_mean_squared_error():
    predicted, truth = noise(3), noise(3, seed=1)
    real, imaginary = volume_losses.spectral_distances(predicted, truth)
    error = (predicted - truth).square().mean((1, 2, 3, 4))
    torch.testing.assert_close(real.square() + imaginary.square(), error, rtol=1e-6, atol=1e-9)
    above = volume_losses.frequency(predicted, truth).item() - (error.log10() / 2).mean().item()
    assert 0 < above <= math.log10(2) / 2
    even = predicted - truth
    even = even + even.flip(2, 3, 4).roll((1, 1, 1), (2, 3, 4))  # its spectrum is real
    exact = even.square().mean((1, 2, 3, 4)).log10().mean().item() / 2
    assert volume_losses.frequency(truth + even, truth).item() == pytest.approx(exact, abs=1e-5)


def test_the_absolute_reading_is_no_logarithm_of_the_mean_squared_error():
    """Of two differences of one size, that of a single voxel has a wide spectrum, and that of a wave a narrow one."""
    truth = torch.zeros(1, 1, 4, 4, 4, dtype=torch.float64)
    voxel = truth.clone()
    voxel[0, 0, 0, 0, 0] = math.sqrt(32)
    wave = truth + torch.cos(2 * math.pi * torch.arange(4, dtype=torch.float64) / 4)[:, None, None]
    assert (voxel - truth).square().mean().item() == pytest.approx((wave - truth).square().mean().item())
    alike, apart = (
        [volume_losses.frequency(other, truth, way).item() for other in (voxel, wave)] for way in (True, False)
    )
    assert alike[0] == pytest.approx(alike[1], abs=1e-5)
    assert apart[0] - apart[1] > 0.5


def test_equation_9_by_hand():
    truth = torch.zeros(1, 1, 2, 2, 2, dtype=torch.float64)
    truth[0, 0, 1, 0, 1] = 3.0
    predicted = torch.zeros_like(truth)
    predicted[0, 0, 0, 0, 1] = 2.0
    first = 1 / 4  # along the first axis both fall on one pixel: 3 against 2
    others = (3 + 2) / 4  # along the others on two
    assert volume_losses.projection(predicted, truth).item() == pytest.approx((first + others + others) / 3)


def test_equation_10_is_the_weighted_sum():
    predicted, truth = noise(2), noise(2, seed=1)
    terms = [
        volume_losses.reconstruction(predicted, truth),
        volume_losses.edge(predicted, truth, SCALE),
        volume_losses.frequency(predicted, truth),
        volume_losses.projection(predicted, truth),
    ]
    expected = terms[0] + 0.1 * (terms[1] + terms[2] + terms[3])
    assert volume_loss(predicted, truth, SCALE).item() == pytest.approx(expected.item())
    alone = LossWeights(edge=0, frequency=0, projection=0)
    assert volume_loss(predicted, truth, SCALE, alone).item() == pytest.approx(terms[0].item())


# ---- Slopes


TERMS = {
    "reconstruction": volume_losses.reconstruction,
    "edge": lambda p, t: volume_losses.edge(p, t, EdgeScale(0.0, 1.0)),
    "frequency": volume_losses.frequency,
    "absolute frequency": lambda p, t: volume_losses.frequency(p, t, euclidean=False),
    "projection": volume_losses.projection,
}


@pytest.mark.parametrize("term", TERMS)
def test_slopes(term):
    truth, predicted = noise(2, side=3), noise(2, side=3, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda p: TERMS[term](p, truth), predicted)


@pytest.mark.parametrize("term", TERMS)
def test_a_perfect_volume_has_finite_slopes(term):
    truth = block()
    predicted = truth.clone().requires_grad_()
    value = TERMS[term](predicted, truth)
    value.backward()
    assert value.isfinite()
    assert predicted.grad.isfinite().all()


def test_half_precision_is_widened():
    predicted, truth = (values.bfloat16() for values in (noise(2), noise(2, seed=1)))
    assert volume_loss(predicted, truth, SCALE).dtype == torch.float32


def test_an_edge_scale_has_a_width():
    with pytest.raises(ValueError, match="positive"):
        EdgeScale(middle=0, width=0)


# ---- Figures


def test_errors_by_hand():
    truth = np.zeros((2, 2, 2))
    predicted = truth.copy()
    predicted[0, 0, 0], predicted[1, 1, 1] = 2.0, -4.0
    assert volumes.mse(predicted, truth) == pytest.approx(20 / 8)
    assert volumes.mae(predicted, truth) == pytest.approx(6 / 8)


def test_psnr_both_ways():
    truth = np.zeros((2, 2, 2))
    truth[0, 0, 0] = 1000.0
    predicted = truth + 10.0
    assert volumes.psnr_of_range(predicted, truth) == pytest.approx(40)
    assert volumes.psnr_of_hu(predicted, truth) == pytest.approx(20 * math.log10(409.5))
    assert volumes.psnr_of_range(truth, truth) == math.inf
    with pytest.raises(ValueError, match="one value"):
        volumes.psnr_of_range(truth, np.zeros((2, 2, 2)))


def test_ssim_of_itself_of_a_window_by_hand_and_of_a_negative():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(9, 8, 7))
    assert volumes.ssim(truth, truth) == pytest.approx(1)
    assert volumes.ssim(-truth, truth) < 0
    truth, predicted = rng.normal(size=(2, 7, 7, 7))  # one window
    span = np.ptp(truth)
    first, second = (0.01 * span) ** 2, (0.03 * span) ** 2
    (var_p, both), (_, var_t) = np.cov(predicted.ravel(), truth.ravel())
    above = (2 * predicted.mean() * truth.mean() + first) * (2 * both + second)
    below = (predicted.mean() ** 2 + truth.mean() ** 2 + first) * (var_p + var_t + second)
    assert volumes.ssim(predicted, truth) == pytest.approx(above / below)


def test_the_frequency_distance_is_the_loss_s_and_has_limits():
    predicted, truth = noise(1)[0, 0].numpy(), noise(1, seed=1)[0, 0].numpy()
    of_loss = volume_losses.frequency(volume(predicted), volume(truth)).item()
    assert volumes.frequency_distance(predicted, truth) == pytest.approx(of_loss, abs=1e-5)
    assert volumes.frequency_distance_in_limits(predicted, truth) == pytest.approx((of_loss + 2) / 3, abs=1e-5)
    assert volumes.frequency_distance(truth, truth) == -math.inf
    assert volumes.frequency_distance_in_limits(truth, truth) == 0
    assert volumes.frequency_distance_in_limits(truth + 1e3, truth) == 1


def test_z_scores_and_back():
    scale = volumes.ZScale(mean_hu=-900, deviation_hu=300)
    assert scale.z(np.array([-900.0, -600, 0])).tolist() == [0, 1, 3]
    assert scale.hu(np.array([3.0])).tolist() == [0]


def test_volumes_that_cannot_be_compared():
    with pytest.raises(ValueError, match="one shape"):
        volumes.mse(np.zeros((2, 2, 2)), np.zeros((2, 2, 3)))
    with pytest.raises(ValueError, match="finite"):
        volumes.mae(np.full((2, 2, 2), np.nan), np.zeros((2, 2, 2)))
    with pytest.raises(ValueError, match="7 voxels"):
        volumes.ssim(np.zeros((4, 4, 4)), np.arange(64.0).reshape(4, 4, 4))


def test_losses_are_taken_beside_autocast(monkeypatch):
    """On CUDA autocast refuses cross-entropies of probabilities."""
    seen = []
    plain = volume_losses.functional.binary_cross_entropy

    def looked(*given):
        seen.append(torch.is_autocast_enabled("cpu"))
        return plain(*given)

    monkeypatch.setattr(volume_losses.functional, "binary_cross_entropy", looked)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        volume_loss(torch.zeros(1, 1, 4, 4, 4), torch.ones(1, 1, 4, 4, 4), SCALE)
    assert seen == [False]
