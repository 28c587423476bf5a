"""The other networks for vertebrae: their published sizes, and that each sees both films and learns."""

import pytest
import torch

from training.learning.rivals import RIVALS, GuidedShortcut, RivalNetwork, RivalSettings

SMALL = {"widths": (4, 4, 8, 8, 8), "narrower": 16}


def made(name, seed=0):
    torch.manual_seed(seed)
    return RivalNetwork(RivalSettings(name=name, **SMALL)).eval()


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("settings", "millions"),
    [
        ({"name": "bx2s"}, 1.8),
        ({"name": "bx2s_plain"}, 1.1),
        ({"name": "e2e"}, 1.4),
        ({"name": "psr"}, 9.2),
        ({"name": "psr", "narrower": 1}, 588.6),
        ({"name": "sit"}, 10.8),
    ],
)
def test_published_sizes(settings, millions):
    with torch.device("meta"):  # shapes alone: no arithmetic, no memory
        network = RivalNetwork(RivalSettings(**settings))
    assert sum(values.numel() for values in network.parameters()) == pytest.approx(millions * 1e6, rel=0.03)


@torch.no_grad()
@pytest.mark.parametrize("name", RIVALS)
def test_a_cube_comes_out_and_both_films_matter(name):
    network, cube = made(name).train(), noise(2, 2, 32, 32, 32)  # in use untrained features fade layer by layer
    volume = network(cube)
    assert volume.shape == (2, 1, 32, 32, 32)
    assert volume.dtype == torch.float32
    for film in range(2):
        other = cube.clone()
        other[:, film] = noise(2, 32, 32, 32, seed=1)
        assert not torch.allclose(network(other), volume, atol=1e-3)


@torch.no_grad()
@pytest.mark.parametrize("name", ["psr", "sit"])
def test_networks_of_pictures_see_the_films_and_no_more_of_the_cubes(name):
    network, cube = made(name).train(), noise(2, 2, 32, 32, 32)
    other = noise(2, 2, 32, 32, 32, seed=1)
    other[:, 0, :, 16], other[:, 1, 16] = cube[:, 0, :, 16], cube[:, 1, 16]  # the middles
    assert torch.equal(network(other), network(cube))


@pytest.mark.parametrize("name", RIVALS)
def test_every_weight_has_a_finite_slope(name):
    network = made(name).train()
    network(noise(2, 2, 32, 32, 32)).square().mean().backward()
    slopes = {key: values.grad for key, values in network.named_parameters()}
    assert [key for key, slope in slopes.items() if slope is None or not slope.isfinite().all()] == []


@torch.no_grad()
def test_a_guided_shortcut_takes_all_levels():
    widths = (4, 4, 8, 8)
    shortcut, features = GuidedShortcut(widths, 8).eval(), noise(1, 8, 8, 8, 8)
    levels = [noise(1, width, *[side] * 3, seed=side) for width, side in zip(widths, (16, 8, 4, 2), strict=True)]
    joined = shortcut(levels, features)
    assert joined.shape == (1, 8, 8, 8, 8)
    for number in range(4):
        others = [level.clone() for level in levels]
        others[number] += 1
        assert not torch.equal(shortcut(others, features), joined)


WRONG = [
    ({"name": "set"}, "no network"),
    ({"widths": (8, 16)}, "four levels"),
    ({"widths": (6, 8, 8, 8, 8)}, "multiples of 4"),
]


@pytest.mark.parametrize(("settings", "words"), WRONG)
def test_wrong_settings_are_named(settings, words):
    with pytest.raises(ValueError, match=words):
        RivalSettings(**settings)


def test_cubes_that_cannot_be_halved_so_often():
    with pytest.raises(ValueError, match="multiple of 32"):
        made("psr")(torch.zeros(1, 2, 48, 48, 48))
