"""The CTC loss with its gradient compared with PyTorch's: alternating in one process, same threads.

python -m benchmarks.ctc [threads]
"""

import sys
import time

import numpy as np

import clstm

CASES = {  # time, batch, classes, labels
    "strings of digits": (150, 32, 11, 4),
    "sentences in letters": (400, 32, 29, 60),
    "pages in word pieces": (800, 16, 1000, 120),
}
TURNS = 15


def seconds(call, least=0.1):
    """Return the time of one call, from so many that they take `least`."""
    start, calls = time.perf_counter(), 0
    while (now := time.perf_counter()) - start < least or not calls:
        call()
        calls += 1
    return (now - start) / calls


def compare(steps, batch, classes, labels):
    """Return the median times in milliseconds of both, and the greatest difference of their gradients."""
    import torch  # not above: asv imports this file, too, where there is no PyTorch

    generator = np.random.default_rng(0)
    logits = generator.standard_normal((steps, batch, classes)).astype(np.float32)
    targets = generator.integers(1, classes, (batch, labels))
    input_lengths = generator.integers(steps // 2, steps, batch, endpoint=True)
    target_lengths = generator.integers(labels // 2, labels, batch, endpoint=True)
    leaf = torch.from_numpy(logits.copy()).requires_grad_()
    tensors = [torch.from_numpy(array) for array in (targets, input_lengths, target_lengths)]

    def ours():
        return clstm.losses.ctc(logits, targets, input_lengths, target_lengths)

    def theirs():
        leaf.grad = None
        torch.nn.functional.ctc_loss(leaf.log_softmax(-1), *tensors).backward()

    theirs()
    difference = np.abs(ours()[1] - leaf.grad.numpy()).max()
    times = np.array([[seconds(ours), seconds(theirs)] for _ in range(TURNS)])
    return 1e3 * np.median(times, axis=0), difference


def main():
    """Print a line for each case."""
    import torch

    threads = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    clstm.set_num_threads(threads)
    torch.set_num_threads(threads)
    names = ("time", "batch", "classes", "labels", "clstm ms", "PyTorch ms", "difference")
    print(" " * 20 + "".join(f"{name:>12}" for name in names))
    for name, case in CASES.items():
        (ours, theirs), difference = compare(*case)
        sizes = "".join(f"{size:>12}" for size in case)
        print(f"{name:<20}{sizes}{ours:>12.2f}{theirs:>12.2f}{difference:>12.1e}")


if __name__ == "__main__":
    main()
