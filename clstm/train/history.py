"""The record of a training, epoch by epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from clstm._package import public


@public("clstm.train")
@dataclass
class History:
    """What happened during training: lists with one entry for each epoch that was completed.

    Attributes
    ----------
    train_loss : list of float
        Mean loss over the epoch's rows, with dropout and while the weights were changing.
    validation_loss, validation_score : list of float
        What `validate` returned; empty if it was not given, or returned no score.
    lr : list of float
        Learning rate of the epoch's last step.
    seconds : list of float
        Duration of the epoch, with validation.
    best_epoch : int or None
        The epoch, counted from 1, whose weights the network has; None without validation.
    interrupted : bool
        Whether Ctrl-C ended the training.
    stopped_early : bool
        Whether `patience` or the callback ended it.
    """

    train_loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    validation_score: list[float] = field(default_factory=list)
    lr: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    best_epoch: int | None = None
    interrupted: bool = False
    stopped_early: bool = False

    @property
    def n_epochs(self) -> int:
        """Number of completed epochs."""
        return len(self.train_loss)

    def followed_by(self, later: History) -> History:
        """Return one history of this training and a later one that continued it."""
        both = {name: value + getattr(later, name) for name, value in vars(self).items() if isinstance(value, list)}
        return replace(later, **both)

    def as_dict(self) -> dict[str, Any]:
        """Return all fields by name, as JSON can hold them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Any) -> History:
        """Return the history whose `as_dict` returned `content`.

        Raises
        ------
        ValueError
            `content` is anything else, as a file of unknown origin may contain.
        """
        expected = cls().as_dict()
        if not isinstance(content, Mapping) or set(content) != set(expected):
            raise ValueError(f"the history isn't an object with {', '.join(expected)}")
        for name, default in expected.items():
            value = content[name]
            if isinstance(default, list):
                fits = isinstance(value, list) and all(type(entry) in (int, float) for entry in value)
            elif name == "best_epoch":
                fits = value is None or type(value) is int
            else:
                fits = type(value) is bool
            if not fits:
                raise ValueError(f"the history's {name} is {value!r:.40}")
        return cls(**content)
