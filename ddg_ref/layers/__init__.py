"""Layers with explicit forward and backward. Read `linear.py` first."""

from ddg_ref.layers.activation import ReLU, Tanh
from ddg_ref.layers.base import Cache, Layer
from ddg_ref.layers.compose import Sequential
from ddg_ref.layers.conv import Conv2d
from ddg_ref.layers.flatten import Flatten
from ddg_ref.layers.init import glorot_uniform, he_normal
from ddg_ref.layers.linear import Linear
from ddg_ref.layers.norm import BatchNorm
from ddg_ref.layers.pool import AvgPool, GlobalAvgPool, MaxPool
from ddg_ref.layers.residual import Residual, Subsample

__all__ = [
    "AvgPool",
    "BatchNorm",
    "Cache",
    "Conv2d",
    "Flatten",
    "GlobalAvgPool",
    "Layer",
    "Linear",
    "MaxPool",
    "ReLU",
    "Residual",
    "Sequential",
    "Subsample",
    "Tanh",
    "glorot_uniform",
    "he_normal",
]
