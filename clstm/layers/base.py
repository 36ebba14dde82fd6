"""What every layer and network has: named weights, and one guarded way to change them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from clstm._checks import check_array, check_state_dict
from clstm._package import public

if TYPE_CHECKING:
    from clstm.layers.row_gradient import RowGradient
    from clstm.summary import Axes, Summary

_blank: ContextVar[bool] = ContextVar("blank", default=False)


@contextmanager
def blank_weights() -> Iterator[None]:
    """Make layers without weights inside the ``with`` block, to save time and memory where a file has the weights.

    They must get theirs by ``load_state_dict(..., assign=True)`` before their first use.
    """
    token = _blank.set(True)
    try:
        yield
    finally:
        _blank.reset(token)


@public("clstm.layers")
class Layer:
    """Base of all layers and networks.

    Weights are NumPy arrays with names. `parameters` and `state_dict` read them; they change inside `updating` only,
    after which the layer prepares for its next call (the LSTM packs its weights again). A network's weights are those
    of its parts, named ``part.weight`` as in PyTorch.

    A subclass adds weights with `_add_weight` and parts with `_add_part`. If it derives anything from the weights, such
    as packed copies, it does so in `_weights_changed`, and in this order:

    1. its constructor adds the weights, then calls `_weights_added`, which calls `_weights_changed`;
    2. `_weights_changed` stores what it derives in `_packed`;
    3. whenever weights change, `_free_packed` runs first, so that old and new packed weights are never in memory
       together, then `_weights_changed`. Copies and pickles leave `_packed` out and derive it again.
    """

    num_threads: int | None = None  # for calls and for updates of the weights; None: see `clstm.set_num_threads`

    def __init__(self) -> None:
        self._weights: dict[str, np.ndarray] = {}
        self._parts: dict[str, Layer] = {}

    def _add_weight(self, name: str, shape: tuple[int, ...], dtype: np.dtype, draw: Callable[[], np.ndarray]) -> None:
        """Add a weight with the initial values that `draw` returns, of any float dtype."""
        if _blank.get():
            self._weights[name] = np.broadcast_to(np.zeros((), dtype), shape)
        else:
            self._weights[name] = np.array(draw(), dtype, order="C")

    def _add_part(self, name: str, part: Layer) -> None:
        self._parts[name] = part

    def _weights_added(self) -> None:
        if not _blank.get():
            self._weights_changed()

    def _free_packed(self) -> None:
        """Free the packed weights before `_weights_changed` builds them again, to lower the peak of memory.

        Called where no other thread may use the layer.
        """

    def _weights_changed(self) -> None:
        """Derive again what depends on the weights."""

    def parameters(self) -> dict[str, np.ndarray]:
        """Return the weights by name, as read-only views: always the present values, never a copy."""
        views = {name: array.view() for name, array in self._weights.items()}
        for view in views.values():
            view.flags.writeable = False
        for part_name, part in self._parts.items():
            views.update({f"{part_name}.{name}": view for name, view in part.parameters().items()})
        return views

    def num_parameters(self) -> int:
        """Return how many numbers the weights hold in all."""
        return sum(view.size for view in self.parameters().values())

    def summary(self) -> Summary:
        """Return a table of this layer's or network's parts: output shapes, parameters and memory of the weights.

        Returns
        -------
        clstm.summary.Summary
            To be printed; its `rows` hold the numbers.

        Examples
        --------
        >>> import clstm
        >>> print(clstm.LSTM(8, 32, batch_first=True).summary())
        ------------------------------------------------------
        layer           output shape       parameters   memory
        ------------------------------------------------------
        LSTM            (batch, time, 32)       5,376  21.5 kB
        ------------------------------------------------------
        total, float32                          5,376  21.5 kB
        """
        from clstm.summary import summarise

        return summarise(self)

    def _output_axes(self) -> Axes:
        """Return the output's shape for `summary`: names of axes that may have any size, and sizes."""
        return ()

    def _stacked(self) -> list[tuple[Axes, list[np.ndarray]]]:
        """Return the output's shape and the weights of each of the stacked layers that this one holds, if any."""
        return []

    def state_dict(self) -> dict[str, np.ndarray]:
        """Return a copy of the weights, by name."""
        return {name: view.copy() for name, view in self.parameters().items()}

    def load_state_dict(self, state_dict: Mapping[str, Any], *, assign: bool = False) -> None:
        """Set all weights from arrays by name.

        Parameters
        ----------
        state_dict : mapping of str to array
            As `state_dict` returns it: every name, with its shape and dtype.
        assign : bool, default False
            Use the arrays themselves instead of copying their values, where they can be written to; the caller must not
            use them afterwards.

        Raises
        ------
        TypeError, ValueError
            A name is missing or unexpected, or a shape or dtype differs; no weight has changed then.
        """
        arrays = check_state_dict(state_dict, self.parameters())
        if assign:
            self._assign(arrays, "")
            return
        with self.updating() as weights:
            for name, array in arrays.items():
                weights[name][...] = array

    def _assign(self, arrays: Mapping[str, np.ndarray], prefix: str) -> None:
        for name in self._weights:
            self._weights[name] = np.require(arrays[prefix + name], requirements=["C", "A", "W"])
        for part_name, part in self._parts.items():
            part._assign(arrays, f"{prefix}{part_name}.")
        self._weights_changed()

    @contextmanager
    def updating(self) -> Iterator[dict[str, np.ndarray]]:
        """Return the weights by name as writable arrays, to be changed in place inside the ``with`` block.

        Calls of the layer use the new values after the block. No other thread may use the layer during it.

        Yields
        ------
        dict of str to ndarray
        """
        with ExitStack() as parts:
            weights = dict(self._weights)
            for part_name, part in self._parts.items():
                inner = parts.enter_context(part.updating())
                weights.update({f"{part_name}.{name}": array for name, array in inner.items()})
            try:
                yield weights
            finally:
                self._free_packed()
                self._weights_changed()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_packed"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._weights_changed()


@public("clstm.layers")
class LayerGradients(NamedTuple):
    """Gradients of a layer.

    Attributes
    ----------
    weights : dict of str to ndarray or RowGradient
        By weight name, each of its weight's shape.
    x : ndarray or None
        Of the input, in its shape; None where the input is integers.
    """

    weights: dict[str, np.ndarray | RowGradient]
    x: np.ndarray | None


@dataclass
class Context:
    """What one `forward_train` keeps for one `backward` of the same layer; opaque to users.

    A `backward` first calls `checked`, then checks its other arguments, and calls `take` last: so the same context can
    still be used after a call with wrong arguments.
    """

    owner: Layer
    kept: Any = field(default=None, kw_only=True, repr=False)
    used: bool = field(default=False, init=False)

    @classmethod
    def checked(cls: type[AnyContext], context: Any, owner: Layer) -> AnyContext:
        """Return `context`, which must be an unused one of this class that `owner` made.

        Raises
        ------
        TypeError
            Not a context of this class.
        ValueError
            Another layer made it, or a `backward` has used it.
        """
        if not isinstance(context, cls):
            raise TypeError(f"context is {type(context).__name__}, expected what forward_train returned")
        if context.owner is not owner:
            raise ValueError("context is of another layer or network")
        if context.used:
            raise ValueError("context was used by an earlier backward; run forward_train again")
        return context

    def take(self, owner: Layer) -> Any:
        """Return what was kept, once: `backward` may overwrite it, and memory is freed when the caller drops it."""
        self.checked(self, owner)
        kept, self.kept, self.used = self.kept, None, True
        return kept


AnyContext = TypeVar("AnyContext", bound=Context)


@public("clstm.layers")
@dataclass
class LayerContext(Context):
    """What one `forward_train` keeps for one `backward`; opaque."""

    y_shape: tuple[int, ...]
    dtype: np.dtype


def take_context(context: Any, owner: Layer, dy: Any) -> tuple[Any, np.ndarray]:
    """Return what the context kept, and `dy`, checked against the output; errors are those of `Context.checked`."""
    context = LayerContext.checked(context, owner)
    dy = check_array("dy", dy, context.dtype, [("y's axis", size) for size in context.y_shape])
    return context.take(owner), dy


def dtype_option(layer: Any) -> dict[str, tuple[Any, Any]]:
    """Return the dtype as an option for `represent`."""
    return {"dtype": (layer.dtype.name, "float32")}


def represent(layer: Layer, sizes: tuple[int, ...], options: dict[str, tuple[Any, Any]]) -> str:
    """Return the call that makes such a layer, without options that are at their default."""
    given = [f"{name}={value}" for name, (value, default) in options.items() if value != default]
    return f"{type(layer).__name__}({', '.join([*map(str, sizes), *given])})"
