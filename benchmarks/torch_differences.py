"""How far `clstm.torch.LSTM` is from `torch.nn.LSTM`: outputs and all gradients, over random configurations.

    python -m benchmarks.torch_differences [--cases 100] [--seed 0]

Each case draws every option that torch.nn.LSTM has, the layout of its input, what requires a gradient, and whether it
trains, with dropout from the same seed. Prints, for each option and dtype, the largest difference seen anywhere among
the cases that have it: absolute, or relative to the largest value of its tensor where that is over 1.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:  # asv imports this file, too, where there is no PyTorch
    import torch

LAYOUTS = ("padded", "packed, sorted", "packed", "unbatched")


@dataclass(frozen=True)
class Case:
    """One configuration."""

    options: dict[str, Any]
    layout: str
    lengths: list[int]
    dtype: torch.dtype
    training: bool
    state: bool
    inputs_with_grad: frozenset[str]  # of x, h0, c0
    frozen: float  # the share of the weights that require no gradient
    seed: int = field(repr=False)


def case(seed: int) -> Case:
    """Draw a case."""
    import torch

    rng = np.random.default_rng(seed)
    hidden_size = int(rng.integers(2, 40))
    options = {
        "input_size": int(rng.integers(1, 20)),
        "hidden_size": hidden_size,
        "num_layers": int(rng.integers(1, 4)),
        "bias": bool(rng.random() < 0.8),
        "batch_first": bool(rng.random() < 0.5),
        "bidirectional": bool(rng.random() < 0.5),
        "proj_size": int(rng.integers(1, hidden_size)) if rng.random() < 0.25 else 0,
    }
    options["dropout"] = 0.4 if options["num_layers"] > 1 and rng.random() < 0.5 else 0.0
    layout = LAYOUTS[rng.integers(4)]
    time, batch = int(rng.integers(1, 30)), 1 if layout == "unbatched" else int(rng.integers(1, 20))
    lengths = [time] * batch
    if layout.startswith("packed"):
        lengths = rng.integers(1, time + 1, batch).tolist()
        lengths = sorted(lengths, reverse=True) if layout == "packed, sorted" else lengths
    return Case(
        options, layout, lengths, (torch.float32, torch.float64)[rng.integers(2)], bool(rng.random() < 0.7),
        bool(rng.random() < 0.6), frozenset(name for name in ("x", "h0", "c0") if rng.random() < 0.5),
        (0.0, 0.0, 0.5, 1.0)[rng.integers(4)], seed,
    )  # fmt: skip


def results(module_class: Callable[..., torch.nn.Module], drawn: Case) -> dict[str, torch.Tensor]:
    """Return the outputs of a case and the gradients of all that requires one."""
    import torch
    from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

    torch.manual_seed(drawn.seed)
    lstm = module_class(**drawn.options, dtype=drawn.dtype).train(drawn.training)
    for weight in lstm.parameters():
        weight.requires_grad_(torch.rand(()).item() >= drawn.frozen)
    time, batch = max(drawn.lengths), len(drawn.lengths)
    first = lstm.batch_first and drawn.layout != "unbatched"
    shape = (batch, time) if first else (time, batch)
    rows = lstm.num_layers * (1 + lstm.bidirectional)
    shapes = {"x": (*shape, lstm.input_size), "h0": (rows, batch, lstm.proj_size or lstm.hidden_size)}
    shapes["c0"] = (rows, batch, lstm.hidden_size)
    tensors = {name: torch.randn(shape, dtype=drawn.dtype) for name, shape in shapes.items()}
    for name in drawn.inputs_with_grad:
        tensors[name].requires_grad_()
    x, h0, c0 = tensors.values()
    if drawn.layout == "unbatched":
        x, h0, c0 = x[:, 0], h0[:, 0], c0[:, 0]
    elif drawn.layout != "padded":
        x = pack_padded_sequence(x, torch.tensor(drawn.lengths), first, enforce_sorted=drawn.layout != "packed")
    torch.manual_seed(drawn.seed + 1)  # for dropout
    y, (h_n, c_n) = lstm(x, (h0, c0) if drawn.state else None)
    found = {"y": y.data if isinstance(y, PackedSequence) else y, "h_n": h_n, "c_n": c_n}
    if isinstance(y, PackedSequence):
        for name in ("batch_sizes", "sorted_indices", "unsorted_indices"):
            if (indices := getattr(y, name)) is not None:
                found[name] = indices
    # The outputs that count: any of them, or one only.
    counted = [[0, 1, 2], [0], [1], [2], [0, 2]][drawn.seed % 5]
    outputs = [found[("y", "h_n", "c_n")[number]] for number in counted]
    if any(output.requires_grad for output in outputs):
        sum((output * torch.randn(output.shape, dtype=output.dtype)).sum() for output in outputs).backward()
    grads = {f"d{name}": tensor.grad for name, tensor in tensors.items() if tensor.grad is not None}
    grads |= {name: weight.grad for name, weight in lstm.named_parameters() if weight.grad is not None}
    return {name: tensor.detach() for name, tensor in (found | grads).items()}


def difference(drawn: Case) -> float:
    """Return the largest difference between the two libraries; raise AssertionError where it is of another kind."""
    import torch

    import clstm.torch

    expected, found = results(torch.nn.LSTM, drawn), results(clstm.torch.LSTM, drawn)
    assert list(found) == list(expected), (list(found), list(expected))
    largest = 0.0
    for name, theirs in expected.items():
        ours = found[name]
        assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype), name
        assert torch.isfinite(ours).all(), name
        if theirs.numel():
            scale = max(1.0, theirs.abs().max().item())
            largest = max(largest, (ours - theirs).abs().max().item() / scale)
    return largest


def traits(drawn: Case) -> list[str]:
    """Return the rows of the table in which a case counts."""
    options = drawn.options
    names = ["all", drawn.layout]
    names += [name for name in ("batch_first", "bidirectional", "proj_size") if options[name]]
    names += ["bias=False"] if not options["bias"] else []
    names += ["several layers"] if options["num_layers"] > 1 else []
    names += ["dropout, training"] if options["dropout"] and drawn.training else []
    names += ["initial state"] if drawn.state else []
    names += ["some weights frozen"] if drawn.frozen else []
    return names


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    largest: dict[str, dict[torch.dtype, list[float]]] = {}
    for seed in range(arguments.seed, arguments.seed + arguments.cases):
        drawn = case(seed)
        found = difference(drawn)
        for name in traits(drawn):
            largest.setdefault(name, {}).setdefault(drawn.dtype, []).append(found)
    print("| cases | | float32 | float64 |\n|---|---|---|---|")
    for name, found in sorted(largest.items(), key=lambda row: -sum(map(len, row[1].values()))):
        worst = [f"{max(found[dtype]):.1e}" if dtype in found else "-" for dtype in (torch.float32, torch.float64)]
        print(f"| {name} | {sum(map(len, found.values()))} | {' | '.join(worst)} |")


if __name__ == "__main__":
    main()
