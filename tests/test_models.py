"""Networks: shapes, seeds, and the layer in which nothing is learnt."""

import pytest
import torch

from fracturelib._io.files import InputError
from fracturelib.models.registry import build_model, stages
from fracturelib.models.small_cnn import LocalContrast, SmallCNN


@pytest.mark.parametrize(("height", "width"), [(64, 64), (96, 160), (225, 223), (32, 32)])
def test_two_logits_for_each_image(height: int, width: int) -> None:
    logits = SmallCNN().eval()(torch.rand(3, 1, height, width))
    assert logits.shape == (3, 2) and logits.dtype == torch.float32


def test_each_stage_halves_the_image() -> None:
    model = SmallCNN().eval()
    x = model.contrast(torch.rand(1, 1, 64, 64))
    for i, layer in enumerate(stages(model).values(), start=1):
        x = layer(x)
        assert x.shape == (1, 8 * 2**i, 64 // 2**i, 64 // 2**i)


def test_a_seed_decides_the_weights_and_leaves_the_global_state_alone() -> None:
    before = torch.random.get_rng_state()
    first, again, other = (build_model("small_cnn", seed=s).head.weight for s in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(before, torch.random.get_rng_state())


def test_an_unknown_network_is_named_with_those_that_exist() -> None:
    with pytest.raises(InputError, match=r"model is 'resnet900'; expected one of .*small_cnn"):
        build_model("resnet900")


def test_local_contrast_forgets_the_exposure() -> None:
    x = torch.rand(2, 1, 64, 64)
    layer = LocalContrast(floor=0.0)
    assert torch.allclose(layer(x), layer(3 * x + 5), atol=1e-3)
    assert not list(layer.parameters())


def test_local_contrast_of_an_empty_image_is_nothing() -> None:
    # Rounding in a mean over a cell is about 1e-6, and the floor multiplies it by ten.
    assert LocalContrast()(torch.full((1, 1, 40, 40), 0.7)).abs().max() < 1e-4


def test_local_contrast_takes_images_smaller_than_a_cell() -> None:
    assert LocalContrast(cell=16)(torch.rand(1, 1, 5, 9)).isfinite().all()


def test_local_contrast_is_near_the_definition_where_the_image_is_even() -> None:
    # A checkerboard has the same mean and spread everywhere, so interpolating between cells changes nothing.
    board = torch.tensor([[0.0, 1.0], [1.0, 0.0]]).repeat(16, 16).view(1, 1, 32, 32)
    expected = (board - 0.5) / (0.5 + 0.1)
    assert torch.allclose(LocalContrast(cell=8)(board), expected, atol=1e-6)
