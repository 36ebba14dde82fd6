"""The libraries that are compared. Another peer is another subclass of System, put into PEERS."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np

import clstm
from clstm import threads

from . import timing
from .problems import Problem


class System:
    """What is measured: `prepare` once for a problem and a number of threads, then `run` again and again."""

    name: str
    packages: tuple[str, ...] = ()  # what must be installed; the first one's version is reported

    @classmethod
    def missing(cls) -> list[str]:
        """Return the packages that aren't there."""
        return [package for package in cls.packages if importlib.util.find_spec(package) is None]

    @classmethod
    def available(cls) -> bool:
        """Tell whether all it needs is installed."""
        return not cls.missing()

    def supports(self, problem: Problem) -> bool:
        """Tell whether the library can do it."""
        return True

    def prepare(self, problem: Problem, num_threads: int) -> None:
        """Make the layer and its input; set the threads and make sure of them."""
        raise NotImplementedError

    def run(self) -> Any:
        """Do it once; return the results as the library gives them."""
        raise NotImplementedError

    def arrays(self, results: Any) -> dict[str, np.ndarray]:
        """Return by name what `run` gave: y, h_n and c_n, or y, dx and weight gradients, in PyTorch's shapes."""
        raise NotImplementedError

    def settings(self) -> dict[str, Any]:
        """Return what `prepare` chose, for the report."""
        return {}

    def expect_threads(self, got: int, wanted: int) -> None:
        if got != wanted:
            raise RuntimeError(f"{self.name} has {got} threads, not {wanted}")


class Clstm(System):
    name = "clstm"

    def prepare(self, problem, num_threads):
        self.problem = problem
        self.lstm = clstm.LSTM(**problem.case.layer, dtype=np.dtype(problem.case.dtype), num_threads=num_threads)
        self.lstm.load_state_dict(problem.weights)
        self.expect_threads(threads.resolve(self.lstm.num_threads), num_threads)

    def run(self):
        return self.train() if self.problem.mode == "training" else self.infer()

    def infer(self):
        y, (h_n, c_n) = self.lstm(self.problem.x, lengths=self.problem.lengths)
        return {"y": y, "h_n": h_n, "c_n": c_n}

    def train(self):
        with self.lstm.updating():  # leaving it packs the weights, as every step of an optimiser does
            pass
        y, _, context = self.lstm.forward_train(self.problem.x, lengths=self.problem.lengths)
        grads = self.lstm.backward(context, self.problem.dy)
        return {"y": y, "dx": grads.x, **grads.weights}

    def arrays(self, results):
        return results


class PyTorch(System):
    name = "PyTorch"
    packages = ("torch",)

    def prepare(self, problem, num_threads):
        import torch

        self.torch, self.problem = torch, problem
        torch.set_num_threads(num_threads)
        self.expect_threads(torch.get_num_threads(), num_threads)
        self.lstm = torch.nn.LSTM(**problem.case.layer, dtype=getattr(torch, problem.case.dtype))
        self.lstm.load_state_dict({name: torch.tensor(weight) for name, weight in problem.weights.items()})
        self.lstm.train(problem.mode == "training")
        self.x = torch.tensor(problem.x, requires_grad=problem.mode == "training")
        self.dy = torch.tensor(problem.dy)
        self.lengths = None if problem.lengths is None else torch.tensor(problem.lengths)

    def run(self):
        return self.train() if self.problem.mode == "training" else self.infer()

    def forward(self):
        if self.lengths is None:
            return self.lstm(self.x)
        rnn = self.torch.nn.utils.rnn
        packed, state = self.lstm(rnn.pack_padded_sequence(self.x, self.lengths, enforce_sorted=False))
        return rnn.pad_packed_sequence(packed)[0], state

    def infer(self):
        with self.torch.inference_mode():
            y, (h_n, c_n) = self.forward()
        return {"y": y, "h_n": h_n, "c_n": c_n}

    def train(self):
        self.x.grad = None
        self.lstm.zero_grad(set_to_none=True)
        y, _ = self.forward()
        y.backward(self.dy)
        return {"y": y, "dx": self.x.grad} | {name: weight.grad for name, weight in self.lstm.named_parameters()}

    def arrays(self, results):
        return {name: tensor.detach().numpy() for name, tensor in results.items()}


class OnnxRuntime(System):
    name = "ONNX Runtime"
    packages = ("onnxruntime", "onnx")

    def supports(self, problem):
        return problem.mode == "inference" and problem.case.dtype == "float32"

    def prepare(self, problem, num_threads):
        self.inputs = {"x": problem.x}
        if problem.lengths is not None:
            self.inputs["lengths"] = problem.lengths.astype(np.int32)
        model = onnx_model(problem).SerializeToString()
        # Its threads may spin between parallel loops or sleep. It gets what is faster for the problem.
        trials = []
        for spinning in (True, False) if num_threads > 1 else (False,):
            self.session = self.new_session(model, num_threads, spinning)
            calls = timing.calls_in_sample(self.run)
            seconds = min(timing.sample(self.run, calls) for _ in range(3))
            trials.append((seconds, spinning, self.session))
        _, self.spinning, self.session = min(trials, key=lambda trial: trial[0])

    def new_session(self, model, num_threads, spinning):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = num_threads, 1
        options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.expect_threads(session.get_session_options().intra_op_num_threads, num_threads)
        return session

    def run(self):
        return self.session.run(None, self.inputs)

    def arrays(self, results):
        y, *states = results  # y (time, directions, batch, hidden); h and c of each layer
        time, _, batch, _ = y.shape
        return {
            "y": y.transpose(0, 2, 1, 3).reshape(time, batch, -1),
            "h_n": np.concatenate(states[::2]),
            "c_n": np.concatenate(states[1::2]),
        }

    def settings(self):
        return {"spinning": self.spinning}


def onnx_model(problem: Problem) -> Any:
    """Return an ONNX model of static shapes: a node a layer, weights inside.

    Its inputs are x and, for a ragged batch, lengths; its outputs y of the last layer, then h and c of each.
    """
    from onnx import TensorProto, helper, numpy_helper

    case, D, H = problem.case, problem.case.directions, problem.case.hidden_size
    nodes, constants, states = [], [], []

    def weight(name: str, layer: int) -> np.ndarray:
        """Stack one weight of all directions, its gates in the order i, o, f, g instead of i, f, g, o."""
        parts = [np.split(problem.weights[name + suffix], 4) for suffix in (f"_l{layer}", f"_l{layer}_reverse")[:D]]
        return np.stack([np.concatenate([i, o, f, g]) for i, f, g, o in parts])

    def constant(name: str, value: np.ndarray) -> str:
        constants.append(numpy_helper.from_array(value, name))
        return name

    def value(name: str, *shape: int, dtype: int = TensorProto.FLOAT) -> Any:
        return helper.make_tensor_value_info(name, dtype, shape)

    x = "x"
    for layer in range(case.num_layers):
        if layer > 0:  # (time, directions, batch, hidden) to (time, batch, directions * hidden)
            shape = constant(f"shape{layer}", np.array([case.time, case.batch, D * H]))
            nodes.append(helper.make_node("Transpose", [f"y{layer - 1}"], [f"turned{layer}"], perm=[0, 2, 1, 3]))
            nodes.append(helper.make_node("Reshape", [f"turned{layer}", shape], [f"x{layer}"]))
            x = f"x{layer}"
        y, h, c = f"y{layer}", f"h{layer}", f"c{layer}"
        biases = np.concatenate([weight("bias_ih", layer), weight("bias_hh", layer)], axis=1)
        node = helper.make_node(
            "LSTM",
            [
                x,
                constant(f"W{layer}", weight("weight_ih", layer)),
                constant(f"R{layer}", weight("weight_hh", layer)),
                constant(f"B{layer}", biases),
                "lengths" if case.lengths else "",
            ],
            [y, h, c],
            hidden_size=H,
            direction="bidirectional" if case.bidirectional else "forward",
        )
        nodes.append(node)
        states += [value(h, D, case.batch, H), value(c, D, case.batch, H)]
    inputs = [value("x", case.time, case.batch, case.input_size)]
    inputs += [value("lengths", case.batch, dtype=TensorProto.INT32)] if case.lengths else []
    outputs = [value(y, case.time, D, case.batch, H), *states]
    graph = helper.make_graph(nodes, "lstm", inputs, outputs, constants)
    opsets = [helper.make_opsetid("", 14)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=helper.find_min_ir_version_for(opsets))


PEERS = (PyTorch, OnnxRuntime)
