"""Fixed splits, and the reader of idx files."""

from __future__ import annotations

import gzip
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from botorch.exceptions.errors import BotorchTensorDimensionError, InputDataError
from sklearn.datasets import load_digits
from torch import Tensor

from botorch_flexibo.nn.data import ClassificationData, digits, fashion_mnist

INSTALLED = Path("/usr/share/datasets/fashion-mnist")


@pytest.fixture(scope="module")
def data() -> ClassificationData:
    return digits()


def write_idx(path: Path, array: np.ndarray, kind: int = 8) -> None:
    head = struct.pack(">BBBB", 0, 0, kind, array.ndim)
    shape = struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(gzip.compress(head + shape + array.astype(np.uint8).tobytes()))


def write_fashion(folder: Path, num_train: int = 60, num_test: int = 20) -> np.ndarray:
    """Small files of the same layout; the training images."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (num_train, 4, 5))
    write_idx(folder / "train-images-idx3-ubyte.gz", images)
    write_idx(folder / "train-labels-idx1-ubyte.gz", np.arange(num_train) % 10)
    test = random.integers(0, 256, (num_test, 4, 5))
    write_idx(folder / "t10k-images-idx3-ubyte.gz", test)
    write_idx(folder / "t10k-labels-idx1-ubyte.gz", np.arange(num_test) % 10)
    return images


def numpy_state() -> str:
    return str(np.random.get_state())


def as_keys(X: Tensor) -> list[tuple[float, ...]]:
    return [tuple(row) for row in X.flatten(start_dim=1).tolist()]


def test_digits_are_those_of_scikit_learn_each_once(data: ClassificationData) -> None:
    images, labels = load_digits(return_X_y=True)
    expected = sorted(
        (tuple(image), int(label))
        for image, label in zip((images / 16).tolist(), labels, strict=True)
    )
    X = torch.cat([data.X_train, data.X_val, data.X_test])
    y = torch.cat([data.y_train, data.y_val, data.y_test])
    assert sorted(zip(as_keys(X), y.tolist(), strict=True)) == expected
    assert data.X_train.dtype == torch.float32
    assert data.image_shape == (1, 8, 8)
    assert data.num_classes == 10


def test_split_of_digits_is_stratified(data: ClassificationData) -> None:
    counts = torch.stack(
        [y.bincount(minlength=10) for y in (data.y_train, data.y_val, data.y_test)]
    )
    shares = counts / counts.sum(dim=0)
    expected = torch.tensor([[0.6], [0.2], [0.2]]).expand(-1, 10)
    assert torch.allclose(shares, expected, atol=0.01)


def test_split_of_digits_is_fixed_and_draws_nothing(data: ClassificationData) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(1234)
        states = torch.get_rng_state(), numpy_state()
        again = digits()
        assert torch.equal(torch.get_rng_state(), states[0])
        assert numpy_state() == states[1]
    assert torch.equal(again.X_train, data.X_train)
    assert torch.equal(again.y_val, data.y_val)
    # Written down when the split was made.
    assert data.y_val[:12].tolist() == [3, 7, 3, 9, 0, 8, 7, 0, 8, 0, 3, 3]


def test_shares_of_digits_can_be_chosen() -> None:
    data = digits(val_share=0.5, test_share=0.25)
    assert len(data.y_val) == pytest.approx(1797 / 2, abs=10)
    assert len(data.y_test) == pytest.approx(1797 / 4, abs=10)


@pytest.mark.parametrize("shares", [(0.0, 0.2), (0.2, 1.0), (0.6, 0.4), (-0.1, 0.5)])
def test_impossible_shares_are_refused(shares: tuple[float, float]) -> None:
    with pytest.raises(InputDataError, match="shares > 0 with a sum < 1"):
        digits(val_share=shares[0], test_share=shares[1])


def test_missing_scikit_learn_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r"pip install botorch-flexibo\[bench\]"):
        digits()


def test_fashion_mnist_reads_idx_files(tmp_path: Path) -> None:
    images = write_fashion(tmp_path)
    data = fashion_mnist(tmp_path)
    assert data.image_shape == (1, 4, 5)
    assert (len(data.y_train), len(data.y_val), len(data.y_test)) == (50, 10, 20)
    assert data.y_val.bincount().tolist() == [1] * 10
    seen = as_keys(torch.cat([data.X_train, data.X_val]))
    pixels = torch.tensor(images, dtype=torch.float32).unsqueeze(1) / 255
    assert sorted(seen) == sorted(as_keys(pixels))


def test_missing_fashion_mnist_names_the_package(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="dataset-fashion-mnist"):
        fashion_mnist(tmp_path)


@pytest.mark.parametrize("damage", ["short", "type", "empty"])
def test_damaged_idx_files_are_refused(tmp_path: Path, damage: str) -> None:
    write_fashion(tmp_path)
    path = tmp_path / "t10k-labels-idx1-ubyte.gz"
    if damage == "type":
        write_idx(path, np.zeros(20), kind=13)
    else:
        content = gzip.decompress(path.read_bytes())
        path.write_bytes(gzip.compress(content[:-1] if damage == "short" else b""))
    with pytest.raises(InputDataError, match="idx file of unsigned bytes"):
        fashion_mnist(tmp_path)


def test_labels_that_do_not_match_are_refused(tmp_path: Path) -> None:
    write_fashion(tmp_path)
    write_idx(tmp_path / "t10k-labels-idx1-ubyte.gz", np.zeros(19))
    with pytest.raises(InputDataError, match="n images and n labels"):
        fashion_mnist(tmp_path)


@pytest.mark.skipif(
    not INSTALLED.is_dir(), reason="Debian's dataset-fashion-mnist is not installed"
)
def test_installed_fashion_mnist_is_complete() -> None:
    data = fashion_mnist()
    assert data.X_train.shape == (50_000, 1, 28, 28)
    assert data.y_val.bincount().tolist() == [1000] * 10
    assert data.y_test.bincount().tolist() == [1000] * 10
    assert float(data.X_train.mean()) == pytest.approx(0.286, abs=2e-3)


def test_moving_keeps_labels_whole(data: ClassificationData) -> None:
    moved = data.to(dtype=torch.float64)
    assert moved.X_val.dtype == torch.float64
    assert moved.y_val.dtype == torch.int64
    assert torch.equal(moved.X_val, data.X_val.double())


@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        ({"y_val": torch.zeros(3).long()}, BotorchTensorDimensionError, "X_val"),
        ({"X_test": torch.zeros(2, 1, 9, 9)}, BotorchTensorDimensionError, "X_test"),
        (
            {"X_val": torch.zeros(0, 1, 8, 8), "y_val": torch.zeros(0).long()},
            BotorchTensorDimensionError,
            "at least one image in X_val",
        ),
        ({"y_test": torch.tensor([1.0, 2.0])}, InputDataError, "int64 labels"),
        ({"y_test": torch.tensor([1, 3])}, InputDataError, r"0\.\.2 in y_test"),
    ],
)
def test_wrong_data_are_refused(
    changes: dict[str, Any], error: type[Exception], match: str
) -> None:
    images, labels = torch.zeros(2, 1, 8, 8), torch.tensor([0, 2])
    arguments: dict[str, Any] = {}
    for split in ("train", "val", "test"):
        arguments |= {f"X_{split}": images, f"y_{split}": labels}
    with pytest.raises(error, match=match):
        ClassificationData(**arguments | changes, num_classes=3)
