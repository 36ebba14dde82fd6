"""Labels of texts: checks, their indices among the classes, and the division into training and validation texts."""

from __future__ import annotations

from typing import Any

import numpy as np

from clstm.text.vocabulary import check_texts


def check_labels(name: str, labels: Any, count: int) -> list[Any]:
    """Return `count` labels as a list of strings, or of integers, or of booleans.

    Raises
    ------
    TypeError
        Not a list, or labels of another kind or of several kinds.
    ValueError
        Another number of labels, or an integer of more than 64 bits.
    """
    if isinstance(labels, (str, bytes)) or not hasattr(labels, "__len__"):
        raise TypeError(f"{name} is {type(labels).__name__}, expected a list of labels")
    labels = [label.item() if isinstance(label, np.generic) else label for label in labels]
    if len(labels) != count:
        raise ValueError(f"{name} has {len(labels)} entries, expected one for each of {count} texts")
    for index, label in enumerate(labels):
        if not isinstance(label, (str, int)):
            raise TypeError(f"{name}[{index}] is {type(label).__name__}, expected a string or an integer")
        if isinstance(label, int) and not -(2**63) <= label < 2**63:
            raise ValueError(f"{name}[{index}] is {label}, expected an integer of 64 bits")
        if type(label) is not type(labels[0]):
            kinds = f"{type(labels[0]).__name__} (the first) and {type(label).__name__} (number {index})"
            raise TypeError(f"{name} mixes {kinds}, expected labels of one kind")
    return labels


def check_validation_data(validation_data: Any) -> tuple[list[str], list[Any]]:
    """Return the texts and labels that validation_data holds; raise TypeError or ValueError for anything else."""
    if not isinstance(validation_data, (tuple, list)) or len(validation_data) != 2:
        raise TypeError(f"validation_data is {type(validation_data).__name__}, expected a pair (texts, labels)")
    texts = check_texts("validation_data's texts", validation_data[0])
    return texts, check_labels("validation_data's labels", validation_data[1], len(texts))


def find_targets(name: str, labels: list[Any], classes: np.ndarray) -> np.ndarray:
    """Return each label's index among the classes; raise ValueError for a label that isn't among them."""
    indices = {label: index for index, label in enumerate(classes.tolist())}
    for label in labels:
        if label not in indices:
            raise ValueError(f"{name} hold {label!r}, which none of the training texts has")
    return np.array([indices[label] for label in labels], np.int64)


def split(
    texts: list[str], labels: list[Any], fraction: float, generator: np.random.Generator
) -> tuple[list[str], list[Any], list[str], list[Any]]:
    """Return texts and labels to train on, with all different labels, and a fraction (1 or more) to validate on."""
    order = generator.permutation(len(texts)).tolist()
    one_of_each = set({labels[row]: row for row in order}.values())  # all validation labels must be known
    spare = [row for row in order if row not in one_of_each]
    if not spare:
        raise ValueError(
            f"validation_fraction is {fraction}, but each of the {len(texts)} texts is its label's only one"
        )
    held = sorted(spare[: max(1, round(fraction * len(texts)))])
    kept = sorted(set(order).difference(held))
    return [texts[i] for i in kept], [labels[i] for i in kept], [texts[i] for i in held], [labels[i] for i in held]
