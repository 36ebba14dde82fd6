"""The configuration of one Keras layer, which isn't trusted: options are checked, and errors name the layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

# Options that say how weights are initialized and how Keras trains or runs, which don't change what the layer computes.
_IGNORED = frozenset({
    "name", "trainable", "dtype", "input_length",
    "kernel_initializer", "recurrent_initializer", "bias_initializer", "embeddings_initializer", "unit_forget_bias",
    "kernel_regularizer", "recurrent_regularizer", "bias_regularizer", "embeddings_regularizer", "activity_regularizer",
    "kernel_constraint", "recurrent_constraint", "bias_constraint", "embeddings_constraint",
    "seed", "unroll", "use_cudnn", "implementation",
})  # fmt: skip


class MaskSource(NamedTuple):
    """What a mask is computed from: it leaves out the steps at which some tensor is `value`.

    Attributes
    ----------
    features : bool
        Whether the tensor has features, of which all must be `value` for a step to be left out.
    tensor : tuple of (str, int)
        The layer that the tensor comes from, and which of its outputs it is.
    value : float
    """

    features: bool
    tensor: tuple[str, int]
    value: float


class LayerConfig:
    """The configuration of one layer, with errors that name it."""

    def __init__(self, config: Any) -> None:
        self.kind = entry("a layer", config, "class_name", str)
        self.options = entry(f"a layer ({self.kind})", config, "config", dict)
        self.name = entry(f"a layer ({self.kind})", self.options, "name", str)
        self.inbound = config.get("inbound_nodes", [])
        self.input: tuple[str, int] = ("", 0)  # in a Functional model: the layer before it, and which of its outputs
        self.mask: MaskSource | None = None
        module, registered = str(config.get("module", "keras.layers")), config.get("registered_name")
        # In a Functional model the masks of Embedding and Masking are operations among the layers.
        self.makes_mask = self.kind in ("NotEqual", "Any") and module == "keras.src.ops.numpy"
        if not self.makes_mask and (registered is not None or not module.startswith("keras.")):
            raise self.error(f"a class of {module!r}: only Keras's own layers can be read")
        self._seen: set[str] = set()

    def error(self, text: str) -> ValueError:
        """Return an error that names the layer."""
        return ValueError(f"layer {self.name!r} ({self.kind}) can't be read: {text}")

    def get(self, option: str, check: Callable[..., Any], default: Any = ..., **limits: Any) -> Any:
        """Return an option, checked by one of `clstm._checks`."""
        self._seen.add(option)
        if option not in self.options and default is not ...:
            return default
        if option not in self.options:
            raise self.error(f"it has no {option}")
        try:
            return check(option, self.options[option], **limits)
        except (TypeError, ValueError) as error:
            raise self.error(str(error)) from None

    def refuse(self, **expected: Any) -> None:
        """Raise for an option that isn't as expected."""
        for option, value in expected.items():
            self._seen.add(option)
            if self.options.get(option, value) != value:
                raise self.error(f"{option} is {shown(self.options[option])}, expected {value}")

    def activation(self, option: str, known: Mapping[str, Any]) -> str:
        """Return an activation's name."""
        self._seen.add(option)
        value = self.options.get(option, "linear")
        value = "linear" if value is None else value
        if not isinstance(value, str) or value not in known:
            raise self.error(f"{option} is {shown(value)}, expected one of {', '.join(known)}")
        return value

    def dtype(self) -> np.dtype:
        """Return float32 or float64, what a policy says."""
        policy = self.options.get("dtype", "float32")
        if isinstance(policy, Mapping) and policy.get("class_name") == "DTypePolicy":
            policy = policy.get("config", {})
            policy = policy.get("name") if isinstance(policy, Mapping) else policy
        if policy not in ("float32", "float64"):
            raise self.error(f"dtype is {shown(policy)}, expected float32 or float64")
        return np.dtype(policy)

    def done(self) -> None:
        """Raise for an option that is on and that nothing has read."""
        for option, value in self.options.items():
            if option not in self._seen and option not in _IGNORED and value not in (None, False):
                raise self.error(f"{option} is {shown(value)}, which isn't known")

    def inner(self, option: str) -> LayerConfig:
        """Return the layer that a wrapper wraps."""
        self._seen.add(option)
        try:
            inner = LayerConfig(self.options.get(option))
        except ValueError as error:
            raise self.error(f"{option}: {error}") from None
        if inner.dtype() != self.dtype():
            raise self.error(f"dtype is {self.dtype()}, that of its {option} {inner.dtype()}")
        return inner

    def known_width(self, width: int | None) -> int:
        """Return the number of input features, which must be known."""
        if width is None:
            raise self.error("the model isn't built: its number of input features isn't known")
        return width


def entry(owner: str, config: Any, name: str, kind: type) -> Any:
    """Return an entry of a configuration, which must be of a type; `owner` says in errors whose it is."""
    value = config.get(name) if isinstance(config, Mapping) else None
    if not isinstance(value, kind):
        raise ValueError(f"{owner} has {name} = {shown(value)}, expected {kind.__name__}")
    return value


def shown(value: Any) -> str:
    """Return a short text for any value, for an error."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
