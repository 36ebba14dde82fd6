"""The table of docs/scaling.md: how the model splits layers over 2 to 128 threads of an imagined machine.

python -m benchmarks.scaling
"""

import clstm._core.backend
from clstm._core.vector import plan as _plan

# T, B, I, H, directions
SHAPES = (
    (100, 1, 128, 128, 1),
    (100, 1, 512, 512, 1),
    (100, 1, 2048, 2048, 1),
    (100, 1, 256, 256, 2),
    (100, 8, 128, 128, 1),
    (100, 8, 512, 512, 1),
    (100, 32, 256, 256, 1),
    (100, 32, 1024, 1024, 1),
    (50, 128, 512, 512, 1),
    (50, 512, 2048, 2048, 1),
    (100, 512, 128, 128, 1),
)
THREADS = (2, 8, 32, 128)
MACHINE = {"caches": (48 << 10, 2 << 20, 64 << 20), "multiply_add": 0.5, "l3_speed": 10}


def region(threads: int) -> float:
    """Return the cycles of a parallel region that the table assumes."""
    return 15_000 + 100 * threads


def cell(shape: tuple[int, ...], threads: int, backward: bool) -> str:
    """Return "groups x threads in each", for each direction where they go side by side, and the speed-up."""
    steps, batch, inputs, hidden, directions = shape
    plan = _plan.plan(
        inputs, hidden, steps, batch, directions, threads, backward=backward, region=region(threads), **MACHINE
    )
    sides = "2 x " if plan["side_by_side"] else ""
    return f"{sides}{plan['row_groups']} x {plan['panel_threads']} ({plan['speedup']:.1f})"


def table() -> str:
    """Return the table in Markdown; the instruction set in use decides how many panels there are."""
    lines = [f"| T, B, I, H | | {' | '.join(f'{threads} threads' for threads in THREADS)} |", "|---" * 6 + "|"]
    for backward in (False, True):
        for shape in SHAPES:
            name = ", ".join(map(str, shape[:4])) + (", both directions" if shape[4] == 2 else "")
            cells = (cell(shape, threads, backward) for threads in THREADS)
            lines.append(f"| {name} | {'backward' if backward else 'forward'} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    clstm._core.backend.use("avx512")
    print(table())
