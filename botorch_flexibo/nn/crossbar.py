r"""Energy, latency and area of a network on memristive crossbars, analytically.

The weight matrix of each layer is cut into blocks of the size of a crossbar, and each
weight into slices of the bits that one cell holds. Inputs are applied bit by bit (more
precisely, digital-to-analog bits by digital-to-analog bits), and every column is
converted and shifted into place for each of these input streams. Structure and numbers
follow ISAAC [Shafiee2016isaac]_; what it does not state follows PUMA [Ankit2019puma]_.

Everything here is a pure function of tensors in SI units. It describes an ideal
mapping: no device noise, no faulty cells, nothing outside of the chip.

.. [Shafiee2016isaac]
    A. Shafiee, A. Nag, N. Muralimanohar, R. Balasubramonian, J. P. Strachan, M. Hu, R.
    S. Williams and V. Srikumar. ISAAC: A Convolutional Neural Network Accelerator with
    In-Situ Analog Arithmetic in Crossbars. ISCA 2016.

.. [Ankit2019puma]
    A. Ankit, I. El Hajj, S. R. Chalamalasetti, G. Ndu, M. Foltin, R. S. Williams, P.
    Faraboschi, W. W. Hwu, J. P. Strachan, K. Roy and D. S. Milojicic. PUMA: A
    Programmable Ultra-efficient Memristor-based Accelerator for Machine Learning
    Inference. ASPLOS 2019.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from botorch_flexibo.nn._crossbar_layers import (
    CrossbarHardware,
    CrossbarLayers,
    broadcast_design_shape,
)
from botorch_flexibo.nn._crossbar_parts import ISAAC, CrossbarComponents

__all__ = [
    "ISAAC",
    "CrossbarComponents",
    "CrossbarCost",
    "CrossbarEnergy",
    "CrossbarHardware",
    "CrossbarLayers",
    "MVMEnergy",
    "alexnet_layers",
    "crossbar_cost",
    "mvm_energy",
    "mvm_latency",
    "vgg19_layers",
]


class MVMEnergy(NamedTuple):
    r"""Energy of one matrix-vector product in a block of crossbars, in J.

    Attributes:
        array: Reading the cells.
        dac: Driving the rows.
        adc: Converting the columns.
        shift_add: Shifting conversions into place and adding them up.
    """

    array: Tensor
    dac: Tensor
    adc: Tensor
    shift_add: Tensor

    @property
    def total(self) -> Tensor:
        """Sum of the four parts."""
        return self.array + self.dac + self.adc + self.shift_add


class CrossbarEnergy(NamedTuple):
    r"""Energy of one inference by origin, ``batch_shape`` each, in J.

    Attributes:
        array: Reading the cells.
        dac: Driving the rows.
        adc: Converting the columns.
        shift_add: Shifting conversions into place and adding them up.
        additions: Adding the partial sums of row blocks.
        movement: Inputs from, and outputs to, the buffer of the tile.
        leakage: Converters and tiles while their layer is at work.
    """

    array: Tensor
    dac: Tensor
    adc: Tensor
    shift_add: Tensor
    additions: Tensor
    movement: Tensor
    leakage: Tensor


@dataclass(frozen=True, eq=False)
class CrossbarCost:
    r"""What one inference costs, and the hardware that it needs.

    Attributes:
        terms: Energy by origin, in J.
        latency: A ``batch_shape`` tensor: time of one inference, in s.
        area: A ``batch_shape`` tensor: chip area of all crossbars, in m^2.
        num_arrays: A ``batch_shape`` tensor: the number of physical crossbars.
        utilization: A ``batch_shape`` tensor: share of the weight positions of these
            crossbars that hold a weight, in (0, 1].
    """

    terms: CrossbarEnergy
    latency: Tensor
    area: Tensor
    num_arrays: Tensor
    utilization: Tensor

    @property
    def core_energy(self) -> Tensor:
        """Energy of the matrix-vector products alone, ``batch_shape``, in J."""
        terms = self.terms
        return terms.array + terms.dac + terms.adc + terms.shift_add

    @property
    def energy(self) -> Tensor:
        """Energy of one inference, all terms, ``batch_shape``, in J."""
        terms = self.terms
        return self.core_energy + terms.additions + terms.movement + terms.leakage


def mvm_energy(
    hardware: CrossbarHardware, components: CrossbarComponents = ISAAC
) -> MVMEnergy:
    r"""Energy of one matrix-vector product in one block of a weight matrix.

    With a crossbar of R rows and R columns, n bit slices (one physical crossbar each)
    and S input streams::

        E = S n (e_array(R) + R e_dac + R e_adc(b) + R e_shift_add)

    where b is the resolution of the analog-to-digital converter,
    ``hardware.adc_bits``. All rows and columns are driven and converted, used or not.

    Args:
        hardware: The hardware settings.
        components: Energies of the parts.

    Returns:
        The four parts, each of the shape of the settings, in J.

    Example:
        >>> from botorch_flexibo.nn.crossbar import CrossbarHardware, mvm_energy
        >>> energy = mvm_energy(CrossbarHardware(crossbar_size=128))
        >>> [round(1e9 * float(part), 2) for part in (*energy, energy.total)]  # nJ
        [3.84, 6.4, 27.31, 0.34, 37.9]
    """
    size = hardware.size
    reads = hardware.num_streams * hardware.num_slices
    dac_growth = 2.0 ** (hardware.tensor("dac_bits") - 1)
    adc_growth = components.resolution_factor(hardware.adc_bits)
    return MVMEnergy(
        array=reads * components.array_energy * components.relative_cells(size),
        dac=reads * size * components.dac_energy * dac_growth,
        adc=reads * size * components.adc_energy * adc_growth,
        shift_add=reads * size * components.shift_add_energy,
    )


def mvm_latency(
    hardware: CrossbarHardware, components: CrossbarComponents = ISAAC
) -> Tensor:
    r"""Time of one matrix-vector product in one block of a weight matrix.

    Input streams pass a pipeline of three stages (read, convert, shift and add) and
    each stage lasts as long as the slower of reading the array and converting all of
    its columns one after the other::

        t = (S + 2) max(t_read, R / rate)

    Args:
        hardware: The hardware settings.
        components: Times of the parts.

    Returns:
        A tensor of the shape of the settings, in s.

    Example:
        >>> from botorch_flexibo.nn.crossbar import CrossbarHardware, mvm_latency
        >>> round(1e6 * float(mvm_latency(CrossbarHardware(crossbar_size=128))), 2)
        1.92
    """
    stage = (hardware.size / components.adc_rate).clamp(min=components.read_time)
    return (hardware.num_streams + 2) * stage


def crossbar_cost(
    layers: CrossbarLayers,
    hardware: CrossbarHardware,
    components: CrossbarComponents = ISAAC,
) -> CrossbarCost:
    r"""Cost of one inference, for many designs at once.

    A layer with a weight matrix of ``rows x cols`` that is applied at N positions takes
    ``ceil(rows / R) ceil(cols / R)`` blocks, each of ``n`` physical crossbars, and as
    many matrix-vector products per position. Beside these products it pays

    - ``N (ceil(rows / R) - 1) cols`` additions of partial sums;
    - ``N (rows + cols)`` values of ``input_bits`` bits between the buffer of the tile
      and the crossbars; an input is fetched again at each position that needs it;
    - leakage of its crossbars' converters and tiles for as long as it works: others are
      switched off meanwhile, as in PUMA.

    Layers work one after the other, and so do the positions of a layer, so
    ``latency = sum N t_mvm``. All weights are on the chip at once, which gives the
    area. Pooling, non-linearities and biases are not counted, and neither is traffic
    between tiles or off the chip.

    NOTE: the rules for movement and leakage, and the growth of the area with the size
    and the resolution, are assumptions of this package: neither source states them as
    formulas. They are separate terms for that reason.

    Args:
        layers: The layers, ``batch_shape x num_layers`` each.
        hardware: The settings; they broadcast with ``batch_shape``.
        components: Energies, times and areas of the parts.

    Returns:
        The cost; its tensors have the broadcast shape of designs and settings, and the
        dtype and device of the layers.

    Raises:
        BotorchTensorDimensionError: If settings and designs do not broadcast.

    Example:
        >>> import torch
        >>> from botorch_flexibo.nn.crossbar import *
        >>> hardware = CrossbarHardware(crossbar_size=torch.tensor([64, 128]))
        >>> cost = crossbar_cost(vgg19_layers(), hardware)
        >>> [round(1e3 * e, 2) for e in cost.core_energy.tolist()]  # mJ per inference
        [1.59, 1.07]
        >>> cost.num_arrays.tolist()
        [40192.0, 10096.0]
    """
    shape = broadcast_design_shape(layers, hardware)
    hardware = hardware.to(layers.rows)
    size = hardware.size.unsqueeze(-1)
    slices = hardware.num_slices.unsqueeze(-1)
    row_blocks = (layers.rows / size).ceil()
    blocks = row_blocks * (layers.cols / size).ceil()
    num_arrays = (blocks * slices).sum(dim=-1)
    seconds = layers.positions * mvm_latency(hardware, components).unsqueeze(-1)
    products = (layers.positions * blocks).sum(dim=-1)
    parts = MVMEnergy(*(products * e for e in mvm_energy(hardware, components)))
    added = layers.positions * (row_blocks - 1).clamp(min=0) * layers.cols
    moved = layers.positions * (layers.rows + layers.cols)
    bits = hardware.tensor("input_bits")
    busy = (blocks * slices * seconds).sum(dim=-1)
    terms = CrossbarEnergy(
        *parts,
        additions=added.sum(dim=-1) * components.addition_energy,
        movement=moved.sum(dim=-1) * bits * components.movement_energy,
        leakage=busy * components.array_leakage(hardware.adc_bits),
    )
    area = components.array_area_total(
        hardware.size, hardware.adc_bits, hardware.tensor("dac_bits")
    )
    weights = (layers.rows * layers.cols).sum(dim=-1)
    return CrossbarCost(
        terms=CrossbarEnergy(*(term.expand(shape) for term in terms)),
        latency=seconds.sum(dim=-1).expand(shape),
        area=(num_arrays * area).expand(shape),
        num_arrays=num_arrays.expand(shape),
        utilization=(weights / (blocks.sum(dim=-1) * hardware.size**2)).expand(shape),
    )


def alexnet_layers(num_classes: int = 17) -> CrossbarLayers:
    r"""AlexNet for images of 227 x 227 pixels, convolutions without groups.

    Args:
        num_classes: The number of classes.

    Returns:
        Its eight layers, 1.13 G multiply-accumulate operations with 17 classes, for
        :func:`crossbar_cost`.
    """
    return CrossbarLayers.cat(
        CrossbarLayers.conv(3, 96, kernel_size=11, positions=55**2),
        CrossbarLayers.conv(96, 256, kernel_size=5, positions=27**2),
        CrossbarLayers.conv(256, 384, kernel_size=3, positions=13**2),
        CrossbarLayers.conv(384, 384, kernel_size=3, positions=13**2),
        CrossbarLayers.conv(384, 256, kernel_size=3, positions=13**2),
        CrossbarLayers.linear(256 * 6**2, 4096),
        CrossbarLayers.linear(4096, 4096),
        CrossbarLayers.linear(4096, num_classes),
    )


def vgg19_layers(num_classes: int = 10) -> CrossbarLayers:
    r"""VGG19 for images of 32 x 32 pixels, fully connected layers of 512 units.

    Args:
        num_classes: The number of classes.

    Returns:
        Its 19 layers, 0.399 G multiply-accumulate operations with 10 classes, for
        :func:`crossbar_cost`.
    """
    layers, channels = [], 3
    stages = ((2, 64, 32), (2, 128, 16), (4, 256, 8), (4, 512, 4), (4, 512, 2))
    for depth, width, side in stages:
        for _ in range(depth):
            layers.append(
                CrossbarLayers.conv(channels, width, kernel_size=3, positions=side**2)
            )
            channels = width
    layers += [CrossbarLayers.linear(512, 512), CrossbarLayers.linear(512, 512)]
    return CrossbarLayers.cat(*layers, CrossbarLayers.linear(512, num_classes))
