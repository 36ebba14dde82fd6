"""The grids: which cases are measured in which mode."""

from __future__ import annotations

from dataclasses import replace

from .problems import Case

FOUR = [Case(*shape) for shape in ((100, 1, 256, 256), (100, 8, 128, 128), (100, 32, 256, 256), (50, 64, 512, 512))]

# The least and the greatest of what people train and serve: batch 1 to 512, hidden size 16 to 2048, length 1 to 4096.
STANDARD = [
    *(Case(*shape) for shape in (
        # one row: from the L1 cache to past L3
        (100, 1, 16, 16), (100, 1, 32, 32), (4096, 1, 64, 64), (100, 1, 128, 128), (100, 1, 256, 256),
        (50, 1, 512, 512), (30, 1, 1024, 1024), (10, 1, 2048, 2048), (1, 1, 256, 256),
        # a few rows
        (100, 2, 128, 128), (100, 4, 64, 64), (100, 4, 256, 256), (30, 4, 1024, 1024), (37, 5, 50, 100),
        (100, 8, 64, 64), (100, 8, 128, 128), (50, 8, 256, 256), (30, 8, 512, 512),
        # usual batches
        (100, 16, 32, 32), (100, 16, 128, 64), (50, 16, 256, 256), (100, 32, 128, 128), (100, 32, 256, 256),
        (20, 32, 512, 512), (4, 32, 2048, 2048), (100, 64, 64, 64), (50, 64, 128, 256), (50, 64, 512, 512),
        # large batches
        (1, 64, 256, 256), (50, 128, 128, 128), (5, 128, 1024, 1024), (20, 256, 256, 256), (50, 512, 16, 16),
        (10, 512, 128, 128),
    )),
    Case(100, 1, 256, 256, num_layers=2), Case(100, 1, 128, 128, bidirectional=True),
    Case(100, 32, 128, 128, num_layers=2), Case(50, 32, 128, 128, bidirectional=True),
    Case(50, 8, 128, 128, num_layers=4), Case(50, 16, 256, 256, num_layers=2, bidirectional=True),
    Case(100, 32, 256, 256, lengths=(10, 100)), Case(100, 64, 128, 128, lengths=(10, 100)),
    Case(100, 32, 128, 128, bidirectional=True, lengths=(10, 100)),
    Case(100, 1, 128, 128, dtype="float64"), Case(100, 8, 128, 128, dtype="float64"),
    Case(50, 32, 256, 256, dtype="float64"), Case(10, 64, 512, 512, dtype="float64"),
]  # fmt: skip

STREAMS = [Case(100, 1, 64, 128), Case(100, 8, 64, 128), Case(100, 1, 128, 256, num_layers=2), Case(50, 1, 512, 512)]

CLASSIFIERS = [
    Case(100, 32, 100, 128),
    Case(100, 32, 128, 256, lengths=(10, 100)),
    Case(100, 64, 64, 64, num_layers=2, bidirectional=True, lengths=(10, 100)),
]


def grid(name: str) -> dict[str, list[Case]]:
    """Return the cases of the grid "standard", "four", "wide" or "quick" by mode."""
    if name == "standard":
        return {"inference": STANDARD, "training": STANDARD, "stream": STREAMS, "classifier": CLASSIFIERS}
    if name == "four":
        return {"inference": FOUR, "training": FOUR}
    if name == "quick":
        ragged = Case(12, 6, 24, 40, num_layers=2, bidirectional=True, lengths=(1, 12))
        layers = [Case(20, 1, 64, 64), ragged]
        stream = [Case(10, 2, 24, 40, num_layers=2)]
        return {"inference": layers, "training": layers, "stream": stream, "classifier": [ragged]}
    cases = []
    for size in (32, 64, 128, 256, 512, 1024):
        for batch in (1, 2, 4, 8, 16, 32, 64, 128, 256):
            steps = 5e9 / (16 * batch * size**2)  # 5 GFLOP in all
            cases.append(Case(min(100, max(10, round(steps))), batch, size, size))
    for shape in ((100, 1, 256, 256), (100, 32, 256, 256), (100, 64, 128, 128)):
        cases += [Case(*shape, bidirectional=True), Case(*shape, num_layers=2)]
        if shape[1] > 1:
            cases += [Case(*shape, lengths=(10, 100)), Case(*shape, bidirectional=True, lengths=(10, 100))]
    cases += [replace(case, dtype="float64") for case in FOUR]
    return {"inference": cases, "training": cases}
