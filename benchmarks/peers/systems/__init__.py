"""The libraries that are compared, a file each. Another peer is another subclass of System, put into PEERS."""

from .base import System
from .onnx_runtime import OnnxRuntime
from .open_vino import OpenVino
from .ours import Clstm
from .pytorch import PyTorch
from .xla import Jax, Keras

PEERS: tuple[type[System], ...] = (PyTorch, OnnxRuntime, OpenVino, Jax, Keras)

__all__ = ["PEERS", "Clstm", "Jax", "Keras", "OnnxRuntime", "OpenVino", "PyTorch", "System"]
