"""Power-function averages of the weights, sharded as the weights are.

EDM2 (Karras et al. 2024, arXiv:2312.02696, section 3.1), in the form that the upstream trainers run: after 0-based step
k, average = beta average + (1 - beta) weights with beta = (1 - 1 / (k + 1))^(gamma + 1); the first update copies the
weights. Source: cosmos-predict2 models/video2world_model.py `ema_beta`, cosmos-predict1 utils/ema.py
`PowerEMATracker`, cosmos-framework omni_mot_model.py:691-694. (The documentation of the last prints another formula.)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from tao_runtime.engine.weights import clean_name, local


def power_exponent(rate: float) -> float:
    """Return gamma of a profile whose width is `rate` of the training so far. Worked number: 0.1 -> 6.94."""
    return float(np.roots([1, 7, 16 - rate**-2, 12 - rate**-2]).real.max())


def power_beta(step: int, exponent: float) -> float:
    """Return what the average keeps of itself after 0-based step `step`; 0 at first."""
    return 0.0 if step < 1 else (1 - 1 / (step + 1)) ** (exponent + 1)


class PowerEma:
    """Averages of the trainable parameters of a model, float32; a frozen parameter is its own average.

    Make it after sharding, loading and freezing. `num` > 1 keeps averages of rate, rate / 2, rate / 4, ...: upstream
    gives each of the first ranks one of them, which sharded weights do not allow; here a rank keeps its part of all.
    """

    def __init__(self, model: nn.Module, *, rate: float = 0.1, num: int = 1, iteration_shift: int = 0) -> None:
        self.exponents = tuple(power_exponent(rate / 2**number) for number in range(num))
        self.iteration_shift = iteration_shift
        self._parameters = {clean_name(name): value for name, value in model.named_parameters() if value.requires_grad}
        self._averages = [
            {name: value.detach().to(torch.float32, copy=True) for name, value in self._parameters.items()}
            for _ in self.exponents
        ]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after optimizer step `step`, 0-based. Nothing is sent: each rank averages its part."""
        weights = [local(value) for value in self._parameters.values()]
        for exponent, average in zip(self.exponents, self._averages, strict=True):
            beta = power_beta(step + self.iteration_shift, exponent)
            kept = [local(value) for value in average.values()]
            torch._foreach_mul_(kept, beta)
            torch._foreach_add_(kept, [value.to(torch.float32) for value in weights], alpha=1 - beta)

    @contextmanager
    def applied(self, number: int = 0) -> Iterator[None]:
        """Put an average into the model, to validate or export it; the weights come back, also after an error."""
        pairs = [(local(self._parameters[name]), local(value)) for name, value in self._averages[number].items()]
        with torch.no_grad():
            weights = [parameter.clone() for parameter, _ in pairs]
            for parameter, average in pairs:
                parameter.copy_(average)
        try:
            yield
        finally:
            with torch.no_grad():
                for (parameter, _), weight in zip(pairs, weights, strict=True):
                    parameter.copy_(weight)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return every average by `<number>.<parameter>`, the tensors themselves: DCP saves and loads them in place."""
        return {
            f"{number}.{name}": value
            for number, average in enumerate(self._averages)
            for name, value in average.items()
        }

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Copy averages of the same names, placed alike.

        Raises:
            KeyError: an average is missing.
        """
        for name, value in self.state_dict().items():
            local(value).copy_(local(state[name]))

    @torch.no_grad()
    def restart(self) -> None:
        """Make every average equal to the weights, as after a warm start."""
        for average in self._averages:
            for name, value in average.items():
                local(value).copy_(local(self._parameters[name]))
