r"""Image data sets that are on the machine already, with fixed splits."""

from __future__ import annotations

import gzip
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np
import torch
from botorch.exceptions.errors import BotorchTensorDimensionError, InputDataError
from torch import Tensor

_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
_UNSIGNED_BYTE = 0x08  # the type code of an idx file


@dataclass(frozen=True, eq=False)
class ClassificationData:
    r"""Images with labels, split for training, validation and test.

    Attributes:
        X_train: An ``n x channels x height x width`` tensor of images in [0, 1].
        y_train: An ``n`` tensor of labels ``0 .. num_classes - 1``, int64.
        X_val: Images to choose networks by.
        y_val: Their labels.
        X_test: Images that no choice may see.
        y_test: Their labels.
        num_classes: The number of classes.
    """

    X_train: Tensor = field(repr=False)
    y_train: Tensor = field(repr=False)
    X_val: Tensor = field(repr=False)
    y_val: Tensor = field(repr=False)
    X_test: Tensor = field(repr=False)
    y_test: Tensor = field(repr=False)
    num_classes: int

    def __post_init__(self) -> None:
        """Check shapes and labels.

        Raises:
            BotorchTensorDimensionError: If a shape is wrong or a split is empty.
            InputDataError: If a label is not an int64 class.
        """
        image = self.X_train.shape[1:]
        for split in ("train", "val", "test"):
            X, y = getattr(self, f"X_{split}"), getattr(self, f"y_{split}")
            if X.ndim != 4 or X.shape[1:] != image or y.shape != X.shape[:1]:
                raise BotorchTensorDimensionError(
                    f"Expected X_{split} of shape n x channels x height x width, alike "
                    f"in all splits, and y_{split} of shape n, but got "
                    f"{tuple(X.shape)} and {tuple(y.shape)}. Reshape the images."
                )
            if len(X) == 0:
                raise BotorchTensorDimensionError(
                    f"Expected at least one image in X_{split}, but got none. Choose "
                    "another split."
                )
            if y.dtype != torch.int64 or y.min() < 0 or y.max() >= self.num_classes:
                raise InputDataError(
                    f"Expected int64 labels 0..{self.num_classes - 1} in y_{split}, "
                    f"but got {y.dtype} in {y.min()}..{y.max()}. Number the classes."
                )

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        channels, height, width = self.X_train.shape[1:]
        return channels, height, width

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> ClassificationData:
        r"""The same data elsewhere.

        Args:
            device: The device; None for the present one.
            dtype: The floating-point dtype of the images; None for the present one.

        Returns:
            The data; labels stay int64.
        """
        moved = {}
        for name in (entry.name for entry in fields(self)):
            value = getattr(self, name)
            if isinstance(value, Tensor):
                value = value.to(
                    device=device, dtype=dtype if value.is_floating_point() else None
                )
            moved[name] = value
        return ClassificationData(**moved)


def digits(*, val_share: float = 0.2, test_share: float = 0.2) -> ClassificationData:
    r"""The 1797 handwritten digits of scikit-learn, 1 x 8 x 8, ten classes.

    The split is fixed and stratified: it is drawn once for all with numpy's legacy
    generator, whose stream never changes, so it does not depend on any seed, on the
    release of scikit-learn or on the machine.

    Args:
        val_share: Share of each class for validation, in (0, 1).
        test_share: Share of each class for the test, in (0, 1).

    Returns:
        The data in single precision, 1078 + 359 + 360 images by default.

    Raises:
        ImportError: If scikit-learn is not installed.
        InputDataError: If a share is not in (0, 1) or nothing is left for training.

    Example:
        >>> from botorch_flexibo.nn.data import digits
        >>> data = digits()
        >>> data.image_shape, len(data.X_train), len(data.X_val), len(data.X_test)
        ((1, 8, 8), 1078, 359, 360)
    """
    try:
        from sklearn.datasets import load_digits  # noqa: PLC0415 -- an extra
    except ImportError as error:
        raise ImportError(
            "The digits data set needs the package scikit-learn. Install it with `pip "
            "install botorch-flexibo[bench]`."
        ) from error
    images, labels = load_digits(return_X_y=True)
    X = torch.from_numpy(np.asarray(images, dtype=np.float32)).reshape(-1, 1, 8, 8) / 16
    y = torch.from_numpy(np.asarray(labels, dtype=np.int64))
    train, val, test = _stratified(y, (val_share, test_share))
    return ClassificationData(
        X[train], y[train], X[val], y[val], X[test], y[test], num_classes=10
    )


def fashion_mnist(
    path: Path | str = _FASHION_MNIST, *, val_share: float = 1 / 6
) -> ClassificationData:
    r"""Fashion-MNIST (Xiao, Rasul and Vollgraf, 2017), 1 x 28 x 28, ten classes.

    Nothing is downloaded. The files are those of Debian's package
    ``dataset-fashion-mnist``. Its 10,000 test images stay the test split; validation
    images are taken from the 60,000 others by a fixed stratified split.

    Args:
        path: The folder of the four ``idx*-ubyte.gz`` files.
        val_share: Share of the training images of each class for validation, in (0, 1).

    Returns:
        The data in single precision, 50,000 + 10,000 + 10,000 images by default.

    Raises:
        FileNotFoundError: If a file is not there.
        InputDataError: If a file is not an idx file of bytes, images and labels do not
            match, or the share is not in (0, 1).

    Example:
        >>> from botorch_flexibo.nn.data import fashion_mnist
        >>> fashion_mnist("data").image_shape  # doctest: +SKIP
        (1, 28, 28)
    """
    arrays = {}
    for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3"):
        arrays[name] = _read_idx(Path(path) / f"{name}-ubyte.gz")
    arrays["t10k-labels-idx1"] = _read_idx(Path(path) / "t10k-labels-idx1-ubyte.gz")
    X, y = _images_and_labels(arrays, "train")
    X_test, y_test = _images_and_labels(arrays, "t10k")
    train, val = _stratified(y, (val_share,))
    return ClassificationData(
        X[train], y[train], X[val], y[val], X_test, y_test, num_classes=10
    )


def _stratified(y: Tensor, shares: tuple[float, ...]) -> list[Tensor]:
    r"""Split rows such that every class is split alike.

    Args:
        y: The labels.
        shares: Share of each part but the first, which gets the rest.

    Returns:
        The rows of each part, ascending.

    Raises:
        InputDataError: If a share is not in (0, 1) or nothing is left.
    """
    if not all(0 < share < 1 for share in shares) or sum(shares) >= 1:
        raise InputDataError(
            f"Expected shares > 0 with a sum < 1, but got {shares}. Leave images for "
            "the training."
        )
    random = np.random.RandomState(0)  # legacy, because its stream is frozen
    labels = y.numpy()
    parts: list[list[np.ndarray]] = [[] for _ in range(len(shares) + 1)]
    for label in np.unique(labels):
        rows = random.permutation(np.flatnonzero(labels == label))
        ends = np.round(np.cumsum(shares) * len(rows)).astype(int)
        for part, chosen in zip(
            [*parts[1:], parts[0]], np.split(rows, ends), strict=True
        ):
            part.append(chosen)
    return [torch.from_numpy(np.sort(np.concatenate(part))) for part in parts]


def _images_and_labels(
    arrays: dict[str, np.ndarray], prefix: str
) -> tuple[Tensor, Tensor]:
    r"""Images in [0, 1] and their labels.

    Args:
        arrays: The contents of the files by name.
        prefix: Which pair of files.

    Returns:
        The ``n x 1 x height x width`` images and the ``n`` labels.

    Raises:
        InputDataError: If they do not match.
    """
    images, labels = arrays[f"{prefix}-images-idx3"], arrays[f"{prefix}-labels-idx1"]
    if images.ndim != 3 or labels.shape != images.shape[:1]:
        raise InputDataError(
            f"Expected n images and n labels in the files {prefix}-*, but got arrays "
            f"of shapes {images.shape} and {labels.shape}. Install the files again."
        )
    X = torch.from_numpy(images.astype(np.float32)).unsqueeze(1) / 255
    return X, torch.from_numpy(labels.astype(np.int64))


def _read_idx(path: Path) -> np.ndarray:
    r"""Read a compressed idx file of bytes.

    The format: two zero bytes, a type code, the number of dimensions, each dimension as
    a big-endian 32-bit number, then the values.

    Args:
        path: The file.

    Returns:
        The array.

    Raises:
        FileNotFoundError: If it is not there.
        InputDataError: If it is not an idx file of bytes.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"Expected the file {path}, but it does not exist. Install the data with "
            "`apt-get install dataset-fashion-mnist`, or pass the folder as `path`."
        )
    with gzip.open(path) as file:
        content = file.read()
    head = np.frombuffer(content[:4], dtype=np.uint8)
    if len(head) == 4 and head[:2].max() == 0 and head[2] == _UNSIGNED_BYTE:
        start = 4 + 4 * int(head[3])
        shape = np.frombuffer(content[4:start], dtype=">u4").astype(int)
        values = np.frombuffer(content[start:], dtype=np.uint8)
        if len(shape) == head[3] and values.size == shape.prod():
            return values.reshape(shape)
    raise InputDataError(
        f"Expected an idx file of unsigned bytes in {path}, but its header or length "
        "is different. Install the file again."
    )
