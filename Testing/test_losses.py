"""The losses against arithmetic done by hand, and against what the paper says they forgive."""

import math

import pytest
import torch

from training.learning import losses
from training.learning.losses import casi_dependent, casi_independent, si_dependent, si_independent

OF_DEPTHS = [si_independent, si_dependent, casi_independent, casi_dependent]
CASI = [casi_independent, casi_dependent]
VARIANCE_KEPT = 1 - 0.85  # of one pixel's squared error


def maps(*rows):
    """One picture of depths: a map for each argument, one row of pixels, (1, J, 1, W); None is a pixel without bone."""
    valid = torch.tensor([[value is not None for value in row] for row in rows])
    depth = torch.tensor([[0.0 if value is None else value for value in row] for row in rows], dtype=torch.float64)
    return depth[None, :, None], valid[None, :, None]


def wrong_by(truth, errors):
    """Predictions whose logarithms differ from the truth's by `errors`."""
    return truth * maps(*errors)[0].exp()


def film_like(seed=0, pictures=2, dtype=torch.float64):
    """Two bones with two faces: depths around 900 mm, predictions some mm off, about half of the pixels valid."""
    rng = torch.Generator().manual_seed(seed)
    truth = 900 + 40 * torch.randn(pictures, 4, 3, 5, generator=rng, dtype=dtype)
    predicted = truth + 5 * torch.randn(truth.shape, generator=rng, dtype=dtype)
    return predicted, truth, torch.rand(truth.shape, generator=rng) < 0.6


# ---- Equations 1 to 4 by hand


def test_equation_1():
    truth, valid = maps([100, 200, None])
    predicted = wrong_by(truth, [[0.2, 0.0, None]])
    mean_square, square_of_mean = 0.04 / 2, 0.1**2
    expected = 10 * math.sqrt(mean_square - 0.85 * square_of_mean)
    assert si_independent(predicted, truth, valid).item() == pytest.approx(expected)


def test_equation_2_is_the_mean_of_the_maps_that_are_not_empty():
    truth, valid = maps([100, 200], [300, None], [None, None])
    predicted = wrong_by(truth, [[0.2, 0.0], [0.1, None], [None, None]])
    expected = 10 * (math.sqrt(0.02 - 0.85 * 0.01) + math.sqrt(0.01 * VARIANCE_KEPT)) / 2
    assert si_independent(predicted, truth, valid).item() == pytest.approx(expected)


def test_equation_3_takes_all_maps_as_one():
    truth, valid = maps([100, 200], [300, None], [None, None])
    predicted = wrong_by(truth, [[0.2, 0.0], [0.1, None], [None, None]])
    mean_square, mean = 0.05 / 3, 0.3 / 3
    expected = 10 * math.sqrt(mean_square - 0.85 * mean**2)
    assert si_dependent(predicted, truth, valid).item() == pytest.approx(expected)


def test_equation_4_centres_all_maps_of_a_picture_together():
    truth, valid = maps([100, 200], [300, None])  # mean 200
    predicted, _ = maps([10, 130], [190, None])  # mean 110: all maps move by 90, to 100, 220, 280
    first, second, third = 0.0, math.log(220 / 200), math.log(280 / 300)
    of_first_map = math.sqrt((first**2 + second**2) / 2 - 0.85 * ((first + second) / 2) ** 2)
    independent = 10 * (of_first_map + math.sqrt(third**2 * VARIANCE_KEPT)) / 2
    mean_square, mean = (first**2 + second**2 + third**2) / 3, (first + second + third) / 3
    dependent = 10 * math.sqrt(mean_square - 0.85 * mean**2)
    assert casi_independent(predicted, truth, valid).item() == pytest.approx(independent, rel=1e-6)
    assert casi_dependent(predicted, truth, valid).item() == pytest.approx(dependent, rel=1e-6)


@pytest.mark.parametrize("loss", OF_DEPTHS)
def test_a_batch_is_the_mean_of_its_pictures(loss):
    predicted, truth, valid = film_like()
    predicted[1] += 30  # each picture has a centre of its own
    apart = [loss(predicted[i : i + 1], truth[i : i + 1], valid[i : i + 1]).item() for i in range(2)]
    assert apart[0] != pytest.approx(apart[1])
    assert loss(predicted, truth, valid).item() == pytest.approx(sum(apart) / 2)


def test_one_map_is_the_special_case_of_both():
    predicted, truth, valid = (values[:1, :1] for values in film_like())
    errors = (predicted.log() - truth.log())[valid]
    expected = 10 * math.sqrt(errors.square().mean() - 0.85 * errors.mean() ** 2)  # Equation 1
    assert si_dependent(predicted, truth, valid).item() == pytest.approx(expected)
    assert si_independent(predicted, truth, valid).item() == pytest.approx(expected)


# ---- What they forgive


@pytest.mark.parametrize("loss", CASI)
@pytest.mark.parametrize("shift_mm", [10.0, -40.0, -950.0])  # the last is a network to which no centre was added
def test_casi_forgives_a_shift_of_all_maps(loss, shift_mm):
    predicted, truth, valid = film_like()
    assert loss(predicted + shift_mm, truth, valid).item() == pytest.approx(loss(predicted, truth, valid).item())
    single = [values.float() for values in (predicted + shift_mm, truth)]
    assert loss(*single, valid).item() == pytest.approx(loss(predicted, truth, valid).item(), rel=1e-3)


@pytest.mark.parametrize("loss", CASI)
def test_casi_punishes_backs_that_move_alone(loss):
    predicted, truth, valid = film_like()
    apart = predicted.unflatten(1, (2, 2)).clone()
    apart[:, :, 1] += 10
    assert loss(apart.flatten(1, 2), truth, valid) > 1.05 * loss(predicted, truth, valid)


@pytest.mark.parametrize("loss", CASI)
def test_casi_punishes_scale(loss):
    _, truth, valid = film_like()
    assert loss(1.05 * truth, truth, valid) > 0.01


@pytest.mark.parametrize("loss", CASI)
def test_casi_counts_the_same_millimetres_less_the_farther_they_are(loss):
    predicted, truth, valid = film_like()
    near, far = loss(predicted, truth, valid), loss(predicted + 500, truth + 500, valid)
    assert far.item() == pytest.approx(near.item() * 900 / 1400, rel=0.05)


@pytest.mark.parametrize("loss", [si_independent, si_dependent])
def test_si_forgives_no_shift(loss):
    _, truth, valid = film_like()
    assert loss(truth + 10, truth, valid).item() == pytest.approx(10 * math.sqrt(VARIANCE_KEPT) * 10 / 900, rel=0.05)


@pytest.mark.parametrize("loss", CASI)
def test_the_slope_of_casi_moves_no_picture_as_a_whole(loss):
    predicted, truth, valid = film_like()
    predicted.requires_grad_()
    loss(predicted, truth, valid).backward()
    assert predicted.grad.abs().sum() > 1e-3
    assert predicted.grad.sum((1, 2, 3)).abs().max() < 1e-12


# ---- Slopes, and what is on the edge


@pytest.mark.parametrize("loss", OF_DEPTHS)
def test_slopes_of_the_depth_losses(loss):
    predicted, truth, valid = film_like()
    assert torch.autograd.gradcheck(lambda p: loss(p, truth, valid), predicted.requires_grad_())


def test_slope_of_equation_1():
    predicted, truth, valid = (values[:1, :1] for values in film_like())
    assert torch.autograd.gradcheck(lambda p: si_independent(p, truth, valid), predicted.requires_grad_())


@pytest.mark.parametrize("loss", CASI)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_one_valid_pixel_is_no_error_and_has_a_slope(loss, dtype):
    truth, valid = maps([None, 937.3], [None, None])
    predicted = torch.full(truth.shape, 912.9, dtype=dtype, requires_grad=True)
    value = loss(predicted, truth.to(dtype), valid)
    value.backward()
    assert value.item() == 0
    assert (predicted.grad == 0).all()


@pytest.mark.parametrize("loss", OF_DEPTHS)
def test_a_perfect_prediction_is_0_and_has_a_slope(loss):
    _, truth, valid = film_like()
    predicted = truth.clone().requires_grad_()
    value = loss(predicted, truth, valid)
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-9)
    assert predicted.grad.isfinite().all()


@pytest.mark.parametrize("loss", OF_DEPTHS)
def test_a_prediction_that_is_nearly_perfect_has_a_bounded_slope(loss):
    _, truth, valid = film_like()
    slopes = []
    for error in (1.0, 1e-3, 1e-6):
        moved = truth + error * torch.linspace(-1, 1, truth.numel(), dtype=truth.dtype).reshape(truth.shape)
        loss(moved.requires_grad_(), truth, valid).backward()
        slopes.append(moved.grad.norm().item())
    assert slopes == pytest.approx([slopes[0]] * 3, rel=0.02)


@pytest.mark.parametrize("loss", OF_DEPTHS)
def test_empty_maps_and_pictures_leave_the_means(loss):
    predicted, truth, valid = film_like(pictures=3)
    valid[:, 2] = False
    valid[1] = False
    kept, pictures = [0, 1, 3], [0, 2]
    without = [values[pictures][:, kept] for values in (predicted, truth, valid)]
    predicted.requires_grad_()
    value = loss(predicted, truth, valid)
    value.backward()
    assert value.item() == pytest.approx(loss(*without).item())
    assert predicted.grad.isfinite().all()
    assert (predicted.grad[~valid] == 0).all()


@pytest.mark.parametrize("loss", OF_DEPTHS)
def test_a_batch_without_bones_has_loss_0_and_slope_0(loss):
    predicted, truth, valid = film_like()
    predicted.requires_grad_()
    value = loss(predicted, torch.zeros_like(truth), torch.zeros_like(valid))
    value.backward()
    assert value.item() == 0
    assert (predicted.grad == 0).all()


@pytest.mark.parametrize("loss", OF_DEPTHS)
def test_what_lies_beside_the_bones_says_nothing_not_even_nan(loss):
    predicted, truth, valid = film_like()
    expected = loss(predicted, truth, valid).item()
    spoilt = torch.where(valid, predicted, torch.nan).requires_grad_()
    value = loss(spoilt, torch.where(valid, truth, -1), valid)
    value.backward()
    assert value.item() == expected
    assert spoilt.grad.isfinite().all()


@pytest.mark.parametrize("loss", OF_DEPTHS)
def test_a_depth_behind_the_source_is_finite_and_pulls_at_nothing(loss):
    predicted, truth, valid = film_like()
    valid[0, 0, 0, 0] = True
    predicted[0, 0, 0, 0] = -3000.0
    predicted.requires_grad_()
    value = loss(predicted, truth, valid)
    value.backward()
    assert 1 < value.item() < 100
    assert predicted.grad.isfinite().all()
    assert loss in CASI or predicted.grad[0, 0, 0, 0] == 0
    assert predicted.grad[1].abs().sum() > 0


@pytest.mark.parametrize("loss", OF_DEPTHS)
def test_autocast_leaves_the_losses_alone(loss):
    predicted, truth, valid = film_like(dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(predicted, truth, valid)
    assert value.dtype == torch.float32
    assert torch.equal(value, loss(predicted, truth, valid))


def test_half_precision_is_widened_before_logarithms():
    predicted, truth, valid = film_like(dtype=torch.float32)
    half = predicted.half()
    assert torch.equal(casi_dependent(half, truth, valid), casi_dependent(half.float(), truth, valid))


def test_masks_are_bool_and_shapes_alike():
    predicted, truth, valid = film_like()
    with pytest.raises(ValueError, match="bool"):
        casi_dependent(predicted, truth, valid.float())
    with pytest.raises(ValueError, match="alike"):
        si_dependent(predicted[:1], truth, valid)


# ---- Bones


def logit(*probabilities):
    return torch.tensor(probabilities, dtype=torch.float64).logit()[None, None, None]


def part(*parts):
    return torch.tensor(parts, dtype=torch.float64)[None, None, None]


def test_dice_by_hand():
    # |p| = 2, |y| = 2, |p - y| = 2
    assert losses.dice_semimetric(logit(0.5, 0.5, 0.5, 0.5), part(1, 1, 0, 0)).item() == pytest.approx(1 - (4 - 2) / 4)
    assert losses.dice_semimetric(logit(0.9, 0.2), part(1, 0)).item() == pytest.approx(1 - (2.1 - 0.3) / 2.1)


def test_dice_is_soft_dice_on_masks_and_0_on_soft_truth_that_is_met():
    predicted, mask = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(1)), torch.zeros(2, 3, 4, 5)
    mask[:, :, 1:3, 1:4] = 1
    soft_dice = 1 - (2 * (predicted * mask).sum((2, 3)) / (predicted + mask).sum((2, 3))).mean()
    assert losses.dice_semimetric(predicted.logit(), mask).item() == pytest.approx(soft_dice.item(), rel=1e-5)
    assert losses.dice_semimetric(predicted.logit(), predicted).item() == pytest.approx(0, abs=1e-6)


def test_bones_that_are_not_shown_leave_the_mean_of_dice():
    logits, truth = torch.cat([logit(0.9, 0.2), logit(0.7, 0.7)], 1), torch.cat([part(1, 0), part(0, 0)], 1)
    expected = losses.dice_semimetric(logits[:, :1], truth[:, :1]).item()
    assert losses.dice_semimetric(logits.requires_grad_(), truth).item() == pytest.approx(expected)
    nothing = losses.dice_semimetric(logits, torch.zeros_like(truth))
    nothing.backward()
    assert nothing.item() == 0
    assert logits.grad.isfinite().all()


def test_cross_entropy_by_hand():
    smooth = -0.95 * math.log(0.75) - 0.05 * math.log(0.25)
    assert losses.cross_entropy(logit(0.75), part(1)).item() == pytest.approx(smooth)
    assert losses.cross_entropy(logit(0.75, 0.25), part(1, 0)).item() == pytest.approx(smooth)  # both sides alike
    assert losses.cross_entropy(logit(0.75), part(1), smoothing=0).item() == pytest.approx(-math.log(0.75))


def test_cross_entropy_with_smoothing_is_least_short_of_certainty():
    values = [losses.cross_entropy(logit(p), part(1)).item() for p in (0.94, 0.95, 0.96)]
    assert values[1] < min(values[0], values[2])


@pytest.mark.parametrize("loss", [losses.dice_semimetric, losses.cross_entropy])
def test_slopes_of_the_segmentation_losses(loss):
    rng = torch.Generator().manual_seed(2)
    logits = torch.randn(2, 3, 4, 5, generator=rng, dtype=torch.float64, requires_grad=True)
    mask = torch.rand(2, 3, 4, 5, generator=rng) < 0.4
    assert torch.autograd.gradcheck(lambda x: loss(x, mask), logits)


def test_coarser_outputs_weigh_half_and_are_told_what_part_of_a_pixel_is_bone():
    mask = torch.tensor([[[[True, False], [False, False]]]])
    fine, coarse = logit(0.6, 0.3, 0.2, 0.1).reshape(1, 1, 2, 2), logit(0.25)

    def both(logits, truth):
        return losses.dice_semimetric(logits, truth) + losses.cross_entropy(logits, truth)

    of_fine, of_coarse = both(fine, mask), losses.cross_entropy(coarse, part(0.25))  # Dice is 0: p is the part itself
    assert losses.segmentation([fine, coarse], mask).item() == pytest.approx(((of_fine + of_coarse / 2) / 1.5).item())
    assert losses.segmentation(fine, mask).item() == pytest.approx(of_fine.item())
