"""A mode in which tensors have shapes and no numbers, but for whole numbers: lengths and places must be known.

What a network asks the host (how long is each sample, which tokens are video) is computed for real, as long as no
tensor without numbers is part of it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

REAL_BYTES = 1 << 20  # of a tensor of a batch that stays as it is
_SEQUENCES = (torch.ops.aten.arange, torch.ops.aten.linspace)


class Weightless(TorchDispatchMode):
    """Enter it; give it `fake` tensors of anything large."""

    def __init__(self) -> None:
        super().__init__()
        self.fake = FakeTensorMode(allow_non_fake_inputs=True)

    def __enter__(self) -> Weightless:
        self.fake.__enter__()
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self.fake.__exit__(*error)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        tensors = [each for each in tree_leaves((args, kwargs)) if isinstance(each, torch.Tensor)]
        real = not any(isinstance(each, FakeTensor) or each.is_meta for each in tensors)
        if real and (tensors or func.overloadpacket in _SEQUENCES or _makes_whole_numbers(kwargs)):
            with unset_fake_temporarily():
                return func(*args, **kwargs)
        return func(*args, **kwargs)

    def lightened(self, batch: Any) -> Any:
        """Return a batch whose large tensors have no numbers."""
        return {name: self._light(value) for name, value in batch.items()}

    def _light(self, value: Any) -> Any:
        large = isinstance(value, torch.Tensor) and not isinstance(value, FakeTensor) and value.nbytes > REAL_BYTES
        return self.fake.from_tensor(value) if large else value


def _makes_whole_numbers(kwargs: dict[str, Any]) -> bool:
    dtype = kwargs.get("dtype")
    return isinstance(dtype, torch.dtype) and not dtype.is_floating_point
