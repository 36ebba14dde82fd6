"""ONNX Runtime on the CPU."""

from __future__ import annotations

import numpy as np

from .base import System, fastest
from .onnx_model import onnx_arrays, onnx_model


class OnnxRuntime(System):
    name = "ONNX Runtime"
    packages = ("onnxruntime", "onnx")
    modes = ("inference", "stream")
    dtypes = ("float32",)
    held_to_isa = False  # nothing keeps its kernels (MLAS) from AVX-512

    def prepare(self, problem, num_threads):
        self.problem = problem
        self.inputs = {"x": problem.x}
        if problem.lengths is not None:
            self.inputs["lengths"] = problem.lengths.astype(np.int32)
        model = onnx_model(problem).SerializeToString()
        # Its threads may spin between parallel loops or sleep. The faster setting for the problem is used.
        choices = (True, False) if num_threads > 1 else (False,)
        sessions = {spinning: self.new_session(model, num_threads, spinning) for spinning in choices}

        def use(spinning):
            self.session = sessions[spinning]
            if problem.mode == "stream":
                self.bind(problem.case)

        self.spinning = fastest(choices, use, self.run)

    def new_session(self, model, num_threads, spinning):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = num_threads, 1
        options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.expect_threads(session.get_session_options().intra_op_num_threads, num_threads)
        return session

    def bind(self, case):
        """Give x, y and two sets of states fixed memory: each step reads one set and writes the other."""
        from onnxruntime import OrtValue

        self.x = np.empty((1, case.batch, case.input_size), np.float32)
        self.y = np.empty((1, 1, case.batch, case.hidden_size), np.float32)
        names = [f"{state}{layer}" for layer in range(case.num_layers) for state in "hc"]
        self.states = [{name: np.zeros((1, case.batch, case.hidden_size), np.float32) for name in names} for _ in "01"]
        self.bindings = []
        self.values = []  # keeps the memory
        for turn in (0, 1):
            binding = self.session.io_binding()
            arrays = {"x": self.x} | {f"{name}_in": array for name, array in self.states[turn].items()}
            results = {f"y{case.num_layers - 1}": self.y, **self.states[1 - turn]}
            for bind, group in ((binding.bind_ortvalue_input, arrays), (binding.bind_ortvalue_output, results)):
                for name, array in group.items():
                    self.values.append(OrtValue.ortvalue_from_numpy(array))
                    bind(name, self.values[-1])
            self.bindings.append(binding)

    def inference(self):
        return self.session.run(None, self.inputs)

    def stream(self):
        for state in self.states[0].values():
            state[...] = 0
        run, out = self.session.run_with_iobinding, np.empty((self.problem.case.time, *self.y.shape[2:]), np.float32)
        for t, x_t in enumerate(self.problem.x):
            self.x[0] = x_t
            run(self.bindings[t % 2])
            out[t] = self.y[0, 0]
        return out

    def arrays(self, results):
        return {"y": results} if self.problem.mode == "stream" else onnx_arrays(results)

    def settings(self):
        return {"spinning": self.spinning}
