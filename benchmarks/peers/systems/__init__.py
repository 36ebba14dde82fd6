"""The compared libraries, one a file. To add one, write a subclass of System and list it in PEERS."""

from .base import System
from .onnx_runtime import OnnxRuntime
from .open_vino import OpenVino
from .ours import Clstm
from .pytorch import PyTorch
from .xla import Jax, Keras

PEERS: tuple[type[System], ...] = (PyTorch, OnnxRuntime, OpenVino, Jax, Keras)

__all__ = ["PEERS", "Clstm", "Jax", "Keras", "OnnxRuntime", "OpenVino", "PyTorch", "System"]
