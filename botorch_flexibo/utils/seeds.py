r"""Torch's random state, borrowed and given back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

# Twice as large a number, and what is added to it, is a seed that PyTorch takes.
_NUM_STREAMS = 2**61
_STRIDE = 1_000_003


def stream(seed: int, number: int) -> int:
    r"""The number of one of the random streams of a seed.

    Args:
        seed: The seed of a run.
        number: The number of the stream, of a decision for example.

    Returns:
        ``1,000,003 seed + number``, modulo ``2^61`` where that is larger.
    """
    number += seed * _STRIDE
    return number if number < _NUM_STREAMS else number % _NUM_STREAMS


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    r"""Torch's global random state follows from a seed within the block.

    NOTE: BoTorch's ``manual_seed`` does not give CUDA's state back, and where CUDA is
    not in use it formats a stack trace each time (torch 2.13, one millisecond).

    Args:
        seed: The seed.

    Yields:
        Nothing. On exit the random state is what it was, on all devices in use.
    """
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices):
        torch.default_generator.manual_seed(seed)
        if devices:
            torch.cuda.manual_seed_all(seed)
        yield
