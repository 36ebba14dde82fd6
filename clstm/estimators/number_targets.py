"""Numbers as targets: one or several for each sequence or step, or quantiles of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from clstm import losses
from clstm._checks import check_flag
from clstm.estimators import sklearn_api as scikit
from clstm.estimators.reading import is_list, read_step_targets
from clstm.estimators.samples import Samples, mean_and_scale
from clstm.estimators.scales import take_scales
from clstm.estimators.targets import Loss, Targets
from clstm.train.batches import PaddedRows


@dataclass(frozen=True, eq=False, kw_only=True)
class NumberTargets(Targets):
    """Numbers, which are standardised for the training; targets have the shape (n, numbers).

    Attributes
    ----------
    shape : tuple of int
        () where y has one number for each sequence or step, (numbers,) where it has several.
    mean, scale : ndarray of float64, shape (numbers,)
        What is subtracted, and by what the result is then divided.
    quantile : float, sequence of float or None
        The quantiles learnt, as the argument has them; None with another loss.
    """

    monitor = "loss"
    score_name = "R2"
    lasting = ("loss", "quantile")
    shape: tuple[int, ...]
    mean: np.ndarray
    scale: np.ndarray
    quantile: Any

    @classmethod
    def learn(
        cls, y: Any, rows: PaddedRows, lengths: Any, params: Mapping[str, Any], classes: Any
    ) -> tuple[NumberTargets, np.ndarray | PaddedRows]:
        """Return the shape of y, not measured yet, and its values (n, numbers)."""
        values, per_step = _read_values(y, rows, lengths)
        shape = values.shape[1:]
        width = int(np.prod(shape))
        mean, scale = np.zeros(width), np.ones(width)
        learnt = cls(per_step=per_step, shape=shape, mean=mean, scale=scale, quantile=_quantile_of(params))
        return learnt, learnt._flat(values, rows)

    def read(self, y: Any, rows: PaddedRows, lengths: Any) -> np.ndarray | PaddedRows:
        """Return the values (n, numbers) of another y, which must have the same shape."""
        values, per_step = _read_values(y, rows, lengths)
        if (per_step, values.shape[1:]) != (self.per_step, self.shape):
            before, now = _shown(self.per_step, self.shape), _shown(per_step, values.shape[1:])
            raise ValueError(f"y has shape {now}, expected {before}, as the y before")
        return self._flat(values, rows)

    def _flat(self, values: np.ndarray, rows: PaddedRows) -> np.ndarray | PaddedRows:
        values = values.reshape(len(values), -1)
        return PaddedRows.end_to_end(values, rows.lengths) if self.per_step else values

    def measured(self, samples: Samples, standardize: bool) -> NumberTargets:
        """Return it with mean and scale of the training targets, if they are to be standardised."""
        if not standardize:
            return self
        mean, scale = mean_and_scale(samples.flat_targets(), samples.flat_weight())
        return replace(self, mean=mean, scale=scale)

    def prepared(self, samples: Samples) -> np.ndarray | PaddedRows:
        """Return the samples' targets standardised."""
        targets = ((samples.flat_targets() - self.mean) / self.scale).astype(samples.dtype)
        return PaddedRows.end_to_end(targets, samples.rows.lengths) if self.per_step else targets

    @property
    def quantiles(self) -> np.ndarray:
        """The quantiles that each number has an output for; with another loss, one value that means nothing."""
        return np.atleast_1d(0.5 if self.quantile is None else self.quantile).astype(np.float64)

    @property
    def output_size(self) -> int:
        """An output for each quantile of each number."""
        return len(self.mean) * len(self.quantiles)

    def loss(self, params: Mapping[str, Any], samples: Samples) -> Loss:
        """Return the loss that the arguments name."""
        delta, q = params["delta"], self.quantiles

        def mse(out: np.ndarray, targets: np.ndarray, weight: np.ndarray | None) -> tuple[float, np.ndarray]:
            return losses.mse(out, targets, sample_weight=weight)

        def huber(out: np.ndarray, targets: np.ndarray, weight: np.ndarray | None) -> tuple[float, np.ndarray]:
            return losses.huber(out, targets, delta=delta, sample_weight=weight)

        def quantile(out: np.ndarray, targets: np.ndarray, weight: np.ndarray | None) -> tuple[float, np.ndarray]:
            repeated = np.repeat(targets, len(q), axis=-1)
            return losses.quantile(out, repeated, q=np.tile(q, len(self.mean)), sample_weight=weight)

        return {"mse": mse, "huber": huber, "quantile": quantile}[params["loss"]]

    def metric(self, loss: Loss, out: np.ndarray, targets: np.ndarray, weight: np.ndarray | None) -> float:
        """Return the R2 of standardised numbers; of quantiles, the negative loss."""
        if self.quantile is not None:
            return -loss(out, targets, weight)[0]
        return float(scikit.r2_score(targets, out, sample_weight=weight))

    def predictions(self, out: np.ndarray) -> np.ndarray:
        """Return the numbers, or their quantiles, in y's units."""
        out = out.reshape(len(out), len(self.mean), -1)
        out = out * self.scale[:, np.newaxis] + self.mean[:, np.newaxis]
        quantiles = out.shape[2:] if np.ndim(self.quantile) else ()
        return out.reshape(len(out), *self.shape, *quantiles)

    def stream_results(self, out: np.ndarray) -> np.ndarray:
        """Return the predictions."""
        return self.predictions(out)

    def score(self, y: Any, out: np.ndarray, weight: Any) -> float:
        """Return the R2; of quantiles, the mean of their D2."""
        predicted = self.predictions(out)
        if self.quantile is None:
            return scikit.r2_score(y, predicted, sample_weight=weight)
        y = np.asarray(y).reshape(len(predicted), -1)
        predicted = predicted.reshape(*y.shape, -1)
        scores = [
            scikit.d2_pinball_score(y, predicted[..., index], alpha=q, sample_weight=weight)
            for index, q in enumerate(np.atleast_1d(self.quantile))
        ]
        return float(np.mean(scores))

    def content(self, params: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return what a file contains of it, besides `per_step`."""
        return {"target_shape": list(self.shape)}, {"target.mean": self.mean, "target.scale": self.scale}

    @classmethod
    def restored(
        cls, params: Mapping[str, Any], config: Mapping[str, Any], arrays: dict[str, np.ndarray]
    ) -> NumberTargets:
        """Return what a file describes, and take the scales out of its arrays."""
        mean, scale = take_scales(arrays, "target")
        if config["target_shape"] not in ([], [len(mean)]):
            raise ValueError(f"its target_shape is {config['target_shape']!r:.40}")
        return cls(
            per_step=check_flag("its per_step", config["per_step"]),
            shape=tuple(config["target_shape"]),
            mean=mean,
            scale=scale,
            quantile=_quantile_of(params),
        )


def _quantile_of(params: Mapping[str, Any]) -> Any:
    return params["quantile"] if params["loss"] == "quantile" else None


def _has_steps(y: Any) -> bool:
    """Return whether y has numbers for each step, not for each sequence."""
    if is_list(y):
        return len(y) > 0 and isinstance(next(iter(y)), np.ndarray) and next(iter(y)).ndim > 0
    return len(getattr(y, "shape", ())) == 3


def _read_values(y: Any, rows: PaddedRows, lengths: Any) -> tuple[np.ndarray, bool]:
    """Return y's numbers in float64, of all sequences or of all steps end to end, and whether they are of steps."""
    per_step = _has_steps(y)
    values = read_step_targets(y, rows, lengths).values if per_step else y
    values = scikit.check_array(values, ensure_2d=False, dtype=np.float64, input_name="y")
    if values.ndim > 2:
        raise ValueError(f"y has shape {np.shape(y)}, expected (n,) or (n, outputs), or (n, time, outputs) of steps")
    return values, per_step


def _shown(per_step: bool, shape: tuple[int, ...]) -> str:
    """Return y's shape as an error shows it."""
    return f"{('n', *('time',) * per_step, *map(str, shape))}".replace("'", "")
