"""What a fresh process pays: the import, the command line's start, a prediction from the shell."""

import subprocess
import sys

from . import cases

# Linux's mark of this program alone; ru_maxrss begins with the memory of the process that started it.
PEAK = "print(open('/proc/self/status').read().partition('VmHWM:')[2].split()[0])"


def peak_megabytes(statement):
    """Return the peak memory, in MB, of a fresh process that runs `statement`."""
    output = subprocess.run([sys.executable, "-c", f"{statement}; {PEAK}"], check=True, capture_output=True, text=True)
    return int(output.stdout.split()[-1]) * 1024 / 1e6


class Import:
    def timeraw_numpy(self):
        return "import numpy"

    def timeraw_lstm(self):
        return "from clstm import LSTM"

    def timeraw_lstm_beyond_numpy(self):
        return "from clstm import LSTM", "import numpy"

    def track_peak_numpy(self):
        return peak_megabytes("import numpy")

    def track_peak_lstm(self):
        return peak_megabytes("from clstm import LSTM")

    track_peak_numpy.unit = track_peak_lstm.unit = "MB"


class OnnxModel:
    """A process that loads an ONNX model and runs it once."""

    STATEMENT = """
import numpy as np, clstm
clstm.onnx.load("tagger.onnx").run(None, {"x": np.zeros((1, 20), np.int64)})
"""

    def setup_cache(self):
        import clstm
        from clstm.models import SequenceNetwork

        network = SequenceNetwork(64, 128, 10, 2, vocab_size=1000, bidirectional=True, pooling=None, seed=0)
        clstm.onnx.save(network, "tagger.onnx", state=False)

    def timeraw_numpy(self):
        return "import numpy"

    def timeraw_onnx_beyond_numpy(self):
        return "import onnx", "import numpy"

    def time_load_and_run(self):
        subprocess.run([sys.executable, "-c", self.STATEMENT], check=True)

    def track_peak(self):
        return peak_megabytes(self.STATEMENT.strip().replace("\n", "; "))

    track_peak.unit = "MB"


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
