"""What a forecaster's `fit` learnt, and what of it a model file holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from clstm._checks import check_array, check_choice, check_dtype, random_generator
from clstm.estimators.fitted import Fitted
from clstm.forecasting import calendars
from clstm.forecasting.cutoffs import CutoffState
from clstm.forecasting.differencing import Differences, season_lags
from clstm.forecasting.distributions import make_output
from clstm.forecasting.encoding import Encoding, Scaling
from clstm.forecasting.frames import FrameForm
from clstm.forecasting.network import ForecastNetwork
from clstm.forecasting.series import Form
from clstm.models.base import restored
from clstm.train.history import History

_PREFIX = "network."  # of the weights' names in a file


@dataclass(frozen=True, eq=False, kw_only=True)
class FittedForecaster(Fitted):
    """What `fit`, and each `update` and `calibrate` since, learnt of series.

    Attributes
    ----------
    network : ForecastNetwork
    encoding : Encoding
    cutoff : CutoffState
        At the end of each series, in their order.
    scores : ndarray of shape (h, columns, windows), or None
        The conformity scores of `calibrate`, sorted.
    """

    network: ForecastNetwork
    encoding: Encoding
    cutoff: CutoffState
    scores: np.ndarray | None = None

    def read_to_trace(self, X: Any, exogenous: Any = None) -> tuple[np.ndarray, np.ndarray, None]:
        """Return series as the network reads them, and the number of steps of each.

        Raises
        ------
        TypeError, ValueError
            They have another form than at `fit`, or are too short for a single step.
        """
        panel = self.encoding.read(X, exogenous)
        shortest, needed = int(panel.lengths.argmin()), self.encoding.history_size + 1
        if panel.lengths[shortest] < needed:
            name = panel.form.name(shortest)
            raise ValueError(f"{name} has {panel.lengths[shortest]} values, expected {needed} or more")
        steps = self.encoding.encode(panel)
        return steps.inputs, steps.lengths, None

    def content(self) -> tuple[dict[str, Any], Mapping[str, np.ndarray]]:
        """Return what a file holds of it in addition to the arguments: what JSON can represent, and arrays."""
        encoding, cutoff = self.encoding, self.cutoff
        config = {
            "form": {"frame": isinstance(encoding.form, FrameForm), **asdict(encoding.form)},
            "frequency": None if encoding.frequency is None else encoding.frequency.name,
            "starts": [_start_for_json(start) for start in encoding.starts],
            "calendar": list(encoding.calendar),
            "history": self.history.as_dict(),
        }
        h, c = cutoff.state
        arrays = {
            "seen": cutoff.n_values,
            "h": h,
            "c": c,
            "tails": cutoff.last_values,
            "center": encoding.y_scaling.center,
            "scale": encoding.y_scaling.scale,
            "x_center": encoding.x_scaling.center,
            "x_scale": encoding.x_scaling.scale,
        }
        if self.scores is not None:
            arrays["scores"] = self.scores
        return config, arrays | {_PREFIX + name: weight for name, weight in self.network.parameters().items()}

    @classmethod
    def restored(
        cls, params: Mapping[str, Any], config: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
    ) -> FittedForecaster:
        """Return what `content` described, as `Fitted.restored` says."""
        weights = {name[len(_PREFIX) :]: array for name, array in arrays.items() if name.startswith(_PREFIX)}
        form, differences = _restore_form(config["form"]), Differences(season_lags(params["season_length"]))
        found = _check_arrays(
            {name: array for name, array in arrays.items() if not name.startswith(_PREFIX)}, params, form, differences
        )
        series = len(found["seen"])
        if not series or (isinstance(form, FrameForm) and len(form.ids) != series):
            raise ValueError(f"it has {series} series, which aren't those of its form")
        frequency, starts, calendar = _restore_dates(config, series)
        encoding = Encoding(
            form,
            frequency,
            starts,
            calendar,
            differences,
            Scaling(found["center"], found["scale"]),
            Scaling(found["x_center"], found["x_scale"]),
            check_dtype("dtype", params["dtype"]),
        )
        network = restored(lambda: make_network(params, encoding, random_generator(0)), weights, params["num_layers"])
        return cls(
            params=params,
            network=network,
            history=History.from_dict(config["history"]),
            encoding=encoding,
            cutoff=CutoffState((found["h"], found["c"]), found["tails"], found["seen"], np.arange(series)),
            scores=found.get("scores"),
        )


def make_network(params: Mapping[str, Any], encoding: Encoding, generator: np.random.Generator) -> ForecastNetwork:
    """Return the network of a forecaster with these arguments, untrained."""
    return ForecastNetwork(
        encoding.features,
        params["hidden_size"],
        params["num_layers"],
        encoding.form.columns,
        make_output(params["output"], params["quantiles"]),
        dropout=params["dropout"],
        dtype=params["dtype"],
        seed=generator,
        num_threads=params["num_threads"],
    )


def _restore_form(config: Mapping[str, Any]) -> Form:
    fields = dict(config)
    form = (FrameForm if fields.pop("frame") else Form)(**fields)
    form.check()
    return form


def _check_arrays(
    arrays: Mapping[str, np.ndarray], params: Mapping[str, Any], form: Form, differences: Differences
) -> dict[str, np.ndarray]:
    """Return a file's arrays but the weights, if they have the shapes and dtypes of these arguments."""
    series = ("series", len(arrays["seen"]))
    columns = ("columns", form.columns)
    state = params["dtype"], [("layers", params["num_layers"]), series, ("hidden_size", params["hidden_size"])]
    y_scaling = np.float64, [series, columns]
    x_scaling = np.float64, [("one", 1), ("exogenous", form.exogenous)]
    expected = {
        "seen": (np.int64, [series]),
        "h": state,
        "c": state,
        "tails": (np.float64, [series, ("values", differences.order + 1), columns]),
        "center": y_scaling,
        "scale": y_scaling,
        "x_center": x_scaling,
        "x_scale": x_scaling,
    }
    if "scores" in arrays:
        expected["scores"] = np.float64, [("h", None), columns, ("windows", None)]
    if set(arrays) != set(expected):
        raise ValueError(f"it has the arrays {', '.join(sorted(arrays))}, expected {', '.join(sorted(expected))}")
    return {name: check_array(name, arrays[name], dtype, shape) for name, (dtype, shape) in expected.items()}


def _restore_dates(
    config: Mapping[str, Any], series: int
) -> tuple[calendars.Frequency | None, tuple[Any, ...], tuple[str, ...]]:
    """Return the step of the dates, the first date of each series, and the calendar features."""
    name, starts = config["frequency"], config["starts"]
    frequency = None if name is None else calendars.read_frequency(name)
    names = tuple(calendars.FEATURES)
    calendar = tuple(check_choice("its calendar", feature, names) for feature in config["calendar"])
    if not isinstance(starts, list) or len(starts) != series or (None in starts) != (name is None):
        raise ValueError("its dates aren't those of its series")
    of_integers = frequency is not None and not frequency.seconds
    if any((type(start) is int) != of_integers for start in starts) or (
        calendar and (frequency is None or of_integers)
    ):
        raise ValueError("its dates aren't those of its frequency and calendar")
    return frequency, tuple(map(_restore_start, starts)), calendar


def _start_for_json(start: Any) -> Any:
    if start is None:
        return None
    return start.item() if start.dtype.kind == "i" else str(start)


def _restore_start(start: Any) -> Any:
    if start is None:
        return None
    return np.int64(start) if type(start) is int else np.datetime64(start, "s")
