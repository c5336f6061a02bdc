r"""Torch's random state is borrowed, and given back."""

from __future__ import annotations

import pytest
import torch
from botorch.utils.sampling import manual_seed

from botorch_flexibo.utils.seeds import seeded, stream


@pytest.mark.parametrize("seed", [0, 7, 2**40 + 3, 2**62])
def test_a_seed_gives_the_numbers_it_gives_everywhere(seed: int) -> None:
    with seeded(seed):
        mine = torch.randn(5)
    with manual_seed(seed):
        assert torch.equal(torch.randn(5), mine)


def test_the_callers_state_comes_back_also_after_errors() -> None:
    before = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError), seeded(3):
        torch.randn(5)
        raise ZeroDivisionError
    assert torch.equal(torch.get_rng_state(), before)
    with seeded(3), seeded(4):
        torch.randn(5)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_callers_state_comes_back_on_cuda() -> None:
    torch.randn(1, device="cuda")
    before = torch.cuda.get_rng_state()
    with seeded(3):
        first = torch.randn(5, device="cuda")
    assert torch.equal(torch.cuda.get_rng_state(), before)
    with seeded(3):
        assert torch.equal(torch.randn(5, device="cuda"), first)


@pytest.mark.parametrize("seed", [-(2**31), -1, 0, 7, 2**40])
def test_streams_of_ordinary_seeds_are_what_recorded_runs_have(seed: int) -> None:
    assert stream(seed, 5) == 1_000_003 * seed + 5


@pytest.mark.parametrize("seed", [2**45, 2**61, 2**62 - 1])
def test_streams_of_large_seeds_are_seeds_that_torch_takes(seed: int) -> None:
    numbers = {stream(s, k) for s in (seed - 1, seed) for k in range(50)}
    assert len(numbers) == 100
    for number in numbers:
        torch.Generator().manual_seed(2 * number + 1)
