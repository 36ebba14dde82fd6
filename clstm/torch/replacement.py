"""Replacing the LSTMs of a PyTorch model by this library's, and back."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any, TypeVar

import torch
from torch import nn

from clstm.torch.modules import LSTM, LSTMCell, problem_of
from clstm.torch.packed_weights import drop_packed_layers, weights_of

AnyModule = TypeVar("AnyModule", bound=nn.Module)

_COUNTERPARTS: dict[type[nn.Module], type[nn.Module]] = {nn.LSTM: LSTM, nn.LSTMCell: LSTMCell}


def replace(model: AnyModule) -> AnyModule:
    """Let this library compute every torch.nn.LSTM and torch.nn.LSTMCell in a model.

    The modules stay the same objects and only change their class, so parameters, optimisers that hold them, hooks and
    modes are as before, and so are modules that a model has in several places. A module that can't be replaced is left
    as it is, with a warning that names it and says why.

    Parameters
    ----------
    model : torch.nn.Module
        Changed in place, itself too if it is an LSTM.

    Returns
    -------
    torch.nn.Module
        The model.

    Warns
    -----
    UserWarning
        An LSTM isn't on the CPU in float32 or float64, is of a derived class, or is TorchScript.

    Examples
    --------
    >>> import torch, clstm.torch
    >>> model = torch.nn.ModuleDict({"lstm": torch.nn.LSTM(8, 32), "head": torch.nn.Linear(32, 2)})
    >>> clstm.torch.replace(model)["lstm"]
    LSTM(8, 32)
    """
    for name, module in _modules(model):
        if reason := _replace_module(module):
            # The root has no name.
            warnings.warn(f"{name or 'the model'} stays a {_class_name(module)}: {reason}", UserWarning, stacklevel=2)
    return model


def restore(model: AnyModule) -> AnyModule:
    """Undo `replace`: let PyTorch compute a model's LSTMs again, for exports and second derivatives.

    Parameters
    ----------
    model : torch.nn.Module
        Changed in place.

    Returns
    -------
    torch.nn.Module
        The model.
    """
    for _, module in _modules(model):
        for theirs, ours in _COUNTERPARTS.items():
            if type(module) is ours:
                module.__class__ = theirs
                drop_packed_layers(module)
    return model


def _modules(model: Any) -> Iterator[tuple[str, nn.Module]]:
    if not isinstance(model, nn.Module):
        raise TypeError(f"model is {type(model).__name__}, expected a torch.nn.Module")
    return model.named_modules()


def _replace_module(module: nn.Module) -> str | None:
    """Change the class of an LSTM, or return why it can't be."""
    if isinstance(module, torch.jit.ScriptModule):
        return "it is TorchScript" if module.original_name in ("LSTM", "LSTMCell") else None
    if not isinstance(module, tuple(_COUNTERPARTS)) or isinstance(module, tuple(_COUNTERPARTS.values())):
        return None
    if type(module) not in _COUNTERPARTS:
        return "its class may compute something else"
    for name, weight in weights_of(module).items():
        if problem := problem_of(weight):
            return f"{name} is {problem}"
    module.__class__ = _COUNTERPARTS[type(module)]
    return None


def _class_name(module: nn.Module) -> str:
    return f"{type(module).__module__}.{type(module).__qualname__}"
