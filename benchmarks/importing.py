"""What a fresh process pays: the import, the command line's start, a prediction from the shell."""

import subprocess
import sys

from . import cases

PEAK = "import resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"


def peak_megabytes(statement):
    """Return the peak memory, in MB, of a fresh process that runs `statement` (Linux counts it in KiB)."""
    output = subprocess.run([sys.executable, "-c", f"{statement}; {PEAK}"], check=True, capture_output=True, text=True)
    return int(output.stdout.split()[-1]) * 1024 / 1e6


class Import:
    def timeraw_numpy(self):
        return "import numpy"

    def timeraw_clstm(self):
        return "import clstm"

    def timeraw_clstm_beyond_numpy(self):
        return "import clstm", "import numpy"

    def track_peak_numpy(self):
        return peak_megabytes("import numpy")

    def track_peak_clstm(self):
        return peak_megabytes("import clstm")

    track_peak_numpy.unit = track_peak_clstm.unit = "MB"


class CommandLine:
    def setup_cache(self):
        import clstm

        texts, labels = cases.reviews(1000)
        clstm.TextClassifier(n_epochs=1, seed=0, verbose=0).fit(texts, labels).save("model.safetensors")

    def time_help(self):
        self._run("--help")

    def time_predict(self):
        self._run("predict", "model.safetensors", "A film that stays with you.")

    def track_peak_predict(self):
        arguments = ["predict", "model.safetensors", "A film that stays with you."]
        return peak_megabytes(f"from clstm.cli import main; main({arguments!r})")

    track_peak_predict.unit = "MB"

    def _run(self, *arguments):
        subprocess.run([sys.executable, "-m", "clstm", *arguments], check=True, capture_output=True)
