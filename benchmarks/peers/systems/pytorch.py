"""PyTorch: nn.LSTM, or cells step by step; its networks and optimisers."""

from __future__ import annotations

from ..problems import LABELS, VOCABULARY
from .base import System, fastest


class PyTorch(System):
    name = "PyTorch"
    packages = ("torch",)
    modes = ("inference", "training", "stream", "classifier")

    def prepare(self, problem, num_threads):
        import torch

        self.torch, self.problem, case = torch, problem, problem.case
        torch.set_num_threads(num_threads)
        self.expect_threads(torch.get_num_threads(), num_threads)
        dtype = getattr(torch, case.dtype)
        self.weights = {name: torch.tensor(weight) for name, weight in problem.weights.items()}
        self.lengths = None if problem.lengths is None else torch.tensor(problem.lengths)
        self.chosen = {}
        if problem.mode == "classifier":
            self.ids, self.targets = torch.tensor(problem.ids), torch.tensor(problem.targets)
            self.chosen["adam"] = fastest(("fused", "foreach"), self.use_adam, self.run)
            self.use_adam(self.chosen["adam"])  # from the first weights again
            return
        self.lstm = torch.nn.LSTM(**case.layer, dtype=dtype)
        self.lstm.load_state_dict(self.weights)
        self.lstm.train(problem.mode == "training")
        self.x = torch.tensor(problem.x, requires_grad=problem.mode == "training")
        self.dy = torch.tensor(problem.dy)
        if problem.mode == "stream":
            cell = torch.nn.LSTMCell
            sizes = [case.input_size, *[case.hidden_size] * (case.num_layers - 1)]
            self.cells = [cell(size, case.hidden_size, dtype=dtype) for size in sizes]
            for layer, one in enumerate(self.cells):
                end = f"_l{layer}"
                own = {name.removesuffix(end): w for name, w in self.weights.items() if name.endswith(end)}
                one.load_state_dict(own)
            self.chosen["step"] = fastest(("LSTM", "LSTMCell"), self.use_step, self.run)

    def use_step(self, name):
        self.step = self.step_layer if name == "LSTM" else self.step_cells

    def use_adam(self, name):
        case = self.problem.case
        self.network = self.new_network(case, getattr(self.torch, case.dtype))
        self.network.load_state_dict(self.weights)
        self.optimizer = self.torch.optim.Adam(self.network.parameters(), **{name: True})

    def new_network(self, case, dtype):
        nn = self.torch.nn

        class Network(nn.Module):
            def __init__(self):
                super().__init__()
                self.embedding = nn.Embedding(VOCABULARY, case.input_size, dtype=dtype)
                self.lstm = nn.LSTM(**case.layer, batch_first=True, dtype=dtype)
                self.fc = nn.Linear(case.hidden_size * case.directions, LABELS, dtype=dtype)

            def forward(self, ids, lengths):
                x = self.embedding(ids)
                if lengths is not None:
                    x = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
                _, (h_n, _) = self.lstm(x)
                return self.fc(h_n[-1] if case.directions == 1 else h_n[-2:].transpose(0, 1).flatten(1))

        return Network()

    def forward(self):
        if self.lengths is None:
            return self.lstm(self.x)
        rnn = self.torch.nn.utils.rnn
        packed, state = self.lstm(rnn.pack_padded_sequence(self.x, self.lengths, enforce_sorted=False))
        return rnn.pad_packed_sequence(packed)[0], state

    def inference(self):
        with self.torch.inference_mode():
            y, (h_n, c_n) = self.forward()
        return {"y": y, "h_n": h_n, "c_n": c_n}

    def training(self):
        self.x.grad = None
        self.lstm.zero_grad(set_to_none=True)
        y, _ = self.forward()
        y.backward(self.dy)
        return {"y": y, "dx": self.x.grad} | {name: weight.grad for name, weight in self.lstm.named_parameters()}

    def stream(self):
        return self.step()

    def step_layer(self):
        state, out = None, []
        with self.torch.inference_mode():
            for x in self.x.split(1):
                y, state = self.lstm(x, state)
                out.append(y)
        return {"y": out}

    def step_cells(self):
        states, out = [None] * len(self.cells), []
        with self.torch.inference_mode():
            for y in self.x:
                for i, cell in enumerate(self.cells):
                    states[i] = cell(y, states[i])
                    y = states[i][0]
                out.append(y[None])
        return {"y": out}

    def classifier(self):
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.torch.nn.functional.cross_entropy(self.network(self.ids, self.lengths), self.targets)
        loss.backward()
        self.optimizer.step()
        return {"loss": loss} | {name: weight.grad for name, weight in self.network.named_parameters()}

    def arrays(self, results):
        if self.problem.mode == "stream":
            results = {"y": self.torch.cat(results["y"])}
        return {name: tensor.detach().numpy() for name, tensor in results.items()}

    def settings(self):
        return self.chosen
