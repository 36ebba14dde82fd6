"""The options that LSTM and LSTMCell share, checked once, and the variants of a step that they select."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from clstm._checks import check_dtype, check_flag, check_index, check_positive, check_real, named_pair
from clstm._core.variant import Variant
from clstm.layers.activations import DEFAULT, check_activations


@dataclass(frozen=True)
class CellOptions:
    """Options of an LSTM's step; the parameters of `clstm.LSTM` with the same names say what each means.

    Raises
    ------
    TypeError, ValueError
        A wrong type or value.
    """

    bias: bool = True
    dtype: Any = np.float32
    proj_size: int = 0
    peephole: bool = False
    coupled: bool = False
    cell_clip: float | None = None
    gate_clip: float | None = None
    layer_norm: bool = False
    recurrent_dropout: float = 0.0
    weight_dropout: float = 0.0
    zoneout: Any = (0.0, 0.0)
    activations: Any = DEFAULT
    learn_initial_state: bool = False

    def __post_init__(self) -> None:
        def limit(name: str) -> float | None:
            value = getattr(self, name)
            return None if value is None else check_positive(name, value)

        flags = ("bias", "peephole", "coupled", "layer_norm", "learn_initial_state")
        checked: dict[str, Any] = {name: check_flag(name, getattr(self, name)) for name in flags}
        checked["dtype"] = check_dtype("dtype", self.dtype)
        checked["proj_size"] = check_index("proj_size", self.proj_size, low=0)
        checked |= {name: limit(name) for name in ("cell_clip", "gate_clip")}
        checked |= {
            name: check_real(name, getattr(self, name), low=0.0, high=1.0)
            for name in ("recurrent_dropout", "weight_dropout")
        }
        checked["zoneout"] = _check_zoneout(self.zoneout)
        if isinstance(self.activations, list):
            checked["activations"] = tuple(self.activations)
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    def values(self) -> dict[str, Any]:
        """Return the options by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def variants(self, num_directions: int, masked: bool = False) -> list[Variant]:
        """Return the variant of each direction's step; `masked` if calls will have masks."""
        variants = [
            Variant(
                coupled=self.coupled,
                cell_clip=self.cell_clip or math.inf,
                gate_clip=self.gate_clip or math.inf,
                layer_norm=self.layer_norm,
                peephole=self.peephole,
                projected=self.proj_size > 0,
                zoneout=self.zoneout,
                activations=activations,
            )
            for activations in check_activations(self.activations, num_directions)
        ]
        # The two directions of a layer share one kernel.
        general = masked or not all(variant.plain for variant in variants)
        return [replace(variant, general=general) for variant in variants]


# The options that PyTorch's LSTM and LSTMCell lack, and the values that leave them off.
BEYOND_PYTORCH = {
    field.name: field.default for field in fields(CellOptions) if field.name not in ("bias", "dtype", "proj_size")
}


def _check_zoneout(value: Any) -> tuple[float, float]:
    if isinstance(value, (tuple, list)):
        h, c = (check_real(name, p, low=0.0, high=1.0) for name, p in named_pair("(zoneout h, zoneout c)", value))
        return h, c
    p = check_real("zoneout", value, low=0.0, high=1.0)
    return p, p
