r"""Small convolutional networks with a batch normalisation behind each convolution."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F

# Makes a network for images of a shape (channels, height, width) and a number of
# classes; its initial weights are drawn from torch's default generator.
NetworkFactory = Callable[[tuple[int, int, int], int], nn.Module]


def small_cnn(image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    r"""Four convolutions of 8, 16, 16 and 32 maps and a linear layer.

    The second and the last convolution halve the sides of the maps, the mean of each
    map goes to the linear layer.

    Args:
        image_shape: Channels, height and width of an image.
        num_classes: The number of classes.

    Returns:
        The network, with 8.6 thousand parameters for ten classes of grey images.

    Example:
        >>> from botorch_flexibo.nn import count_convolutions
        >>> from botorch_flexibo.test_functions.deep_shift import small_cnn
        >>> count_convolutions(small_cnn((1, 8, 8), 10))
        4
    """
    return nn.Sequential(
        _convolution(image_shape[0], 8),
        nn.ReLU(),
        _convolution(8, 16, stride=2),
        nn.ReLU(),
        _convolution(16, 16),
        nn.ReLU(),
        _convolution(16, 32, stride=2),
        nn.ReLU(),
        *_head(32, num_classes),
    )


def small_resnet(image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    r"""A residual network (He et al., CVPR 2016) with seven convolutions.

    A convolution of 8 maps, three blocks of two convolutions with 8, 16 and 32 maps,
    and a linear layer on the mean of each map. The last two blocks halve the sides of
    the maps. Shortcuts have no parameters: they leave out every second position and add
    maps of zeros (option A of the paper).

    Args:
        image_shape: Channels, height and width of an image.
        num_classes: The number of classes.

    Returns:
        The network, with 19.1 thousand parameters for ten classes of grey images.
    """
    return nn.Sequential(
        _convolution(image_shape[0], 8),
        nn.ReLU(),
        _ResidualBlock(8, 8, stride=1),
        _ResidualBlock(8, 16, stride=2),
        _ResidualBlock(16, 32, stride=2),
        *_head(32, num_classes),
    )


class _ResidualBlock(nn.Module):
    """Two convolutions beside a shortcut without parameters."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int) -> None:
        super().__init__()
        self.first = _convolution(in_channels, out_channels, stride=stride)
        self.second = _convolution(out_channels, out_channels)
        self.stride = stride
        self.new_channels = out_channels - in_channels

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x[..., :: self.stride, :: self.stride]
        shortcut = F.pad(shortcut, (0, 0, 0, 0, 0, self.new_channels))
        return F.relu(self.second(F.relu(self.first(x))) + shortcut)


def _convolution(
    in_channels: int, out_channels: int, *, stride: int = 1
) -> nn.Sequential:
    """A 3 x 3 convolution without a bias, and a batch normalisation."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
    )


def _head(channels: int, num_classes: int) -> tuple[nn.Module, ...]:
    """The mean of each map and a linear layer."""
    return nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, num_classes)
