"""A PyTorch model in a process without PyTorch: how soon it answers, and its memory, compared with PyTorch.

    python -m benchmarks.without_torch [--rounds 7]

Saves the state_dict of a classifier of 3.7 MB (embedding, LSTM of 2 layers and both directions, linear layer), then
starts fresh processes in turn, one with clstm and one with PyTorch, which load it and classify one sentence. Prints
medians of the time from start to end, and of the processor's, and the largest peak of memory (VmHWM of Linux); their
answers must agree. An interpreter that only starts is beside them.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
VOCABULARY, EMBEDDING, HIDDEN = 4000, 64, 128

REPORT = """
print(json.dumps({"answer": answer, "peak": open("/proc/self/status").read().partition("VmHWM:")[2].split()[0],
                  "torch": "torch" in sys.modules}))
"""
PROGRAMS = {
    "clstm": """
import json, sys
import numpy as np, clstm
weights = clstm.read_state_dict("model.pt")
embedding = clstm.Embedding.from_torch(weights, prefix="embedding")
lstm = clstm.LSTM.from_torch(weights, prefix="lstm", batch_first=True)
head = clstm.Linear.from_torch(weights, prefix="head")
y, _ = lstm(embedding(np.arange(20)[None]))
answer = head(y.mean(axis=1)).tolist()
""",
    "PyTorch": """
import json, sys
import torch
from torch import nn
model = nn.ModuleDict({"embedding": nn.Embedding(4000, 64), "head": nn.Linear(256, 2),
                       "lstm": nn.LSTM(64, 128, 2, bidirectional=True, batch_first=True)})
model.load_state_dict(torch.load("model.pt", weights_only=True))
with torch.inference_mode():
    y, _ = model["lstm"](model["embedding"](torch.arange(20)[None]))
    answer = model["head"](y.mean(dim=1)).tolist()
""",
    "Python alone": "import json, sys\nanswer = None",
}


def run(program: str, folder: str) -> tuple[float, float, dict]:
    """Return the seconds and processor seconds of a fresh process, and what it says."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    before, start = os.times(), time.perf_counter()
    command = [sys.executable, "-c", program + REPORT]
    output = subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True, text=True).stdout
    seconds, after = time.perf_counter() - start, os.times()
    processor = after.children_user + after.children_system - before.children_user - before.children_system
    return seconds, processor, json.loads(output)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        save = """
torch.manual_seed(0)
model = nn.ModuleDict({"embedding": nn.Embedding(4000, 64), "head": nn.Linear(256, 2),
                       "lstm": nn.LSTM(64, 128, 2, bidirectional=True, batch_first=True)})
torch.save(model.state_dict(), "model.pt")
"""
        subprocess.run([sys.executable, "-c", f"import torch\nfrom torch import nn\n{save}"], cwd=folder, check=True)
        size = (Path(folder) / "model.pt").stat().st_size
        found = {name: [] for name in PROGRAMS}
        for _ in range(arguments.rounds + 1):
            for name, program in PROGRAMS.items():
                found[name].append(run(program, folder))
    answers = {name: np.array(runs[0][2]["answer"], float) for name, runs in found.items()}
    print(f"file of {size / 1e6:.1f} MB, load {os.getloadavg()[0]:.1f}, the answers differ by "
          f"{np.abs(answers['clstm'] - answers['PyTorch']).max():.1e}")  # fmt: skip
    assert not found["clstm"][0][2]["torch"]
    print("| | seconds | processor's | peak memory, MB |\n|---|---|---|---|")
    for name, runs in found.items():
        wall, processor, reports = zip(*runs[1:], strict=True)  # the first fills the system's file cache
        peak = max(int(report["peak"]) for report in reports) * 1024 / 1e6
        print(f"| {name} | {statistics.median(wall):.2f} | {statistics.median(processor):.2f} | {peak:.0f} |")


if __name__ == "__main__":
    main()
