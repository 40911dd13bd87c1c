"""How many bytes of tensors are alive, now and at most: every storage that an operation makes is watched until it dies.

torch's own MemTracker says which kind a tensor is, and refuses frozen parameters and modules that run twice
(torch 2.13.0, distributed/_tools/mem_tracker.py:603, 673); adapters need the first, video tokenizers the second.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from types import TracebackType
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class StorageTracker(TorchDispatchMode):
    """Counts bytes while it is entered. `current` and `peak` hold what `watch` was given, too."""

    def __init__(self, tick: Callable[[], None] | None = None) -> None:
        """`tick` is called after each operation, and may raise."""
        super().__init__()
        self.current = 0
        self.peak = 0
        self._sizes: dict[int, int] = {}
        self._tick = tick
        self._resize = torch.UntypedStorage.resize_

    def watch(self, tensors: Any) -> None:
        """Count tensors that are there already."""
        for tensor in tree_leaves(tensors):
            if isinstance(tensor, torch.Tensor):
                self._add(tensor)

    def restart_peak(self) -> None:
        """Forget the most that was alive."""
        self.peak = self.current

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        self.watch(found)
        if self._tick is not None:
            self._tick()
        return found

    def __enter__(self) -> StorageTracker:
        tracker, original = self, self._resize

        def resize_(storage: torch.UntypedStorage, size: int) -> None:
            # FSDP frees and takes gathered weights so: no operation tells.
            original(storage, size)
            if (key := storage._cdata) in tracker._sizes:
                tracker._set(key, storage.nbytes())

        torch.UntypedStorage.resize_ = resize_  # type: ignore[method-assign, assignment]
        super().__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        torch.UntypedStorage.resize_ = self._resize  # type: ignore[method-assign]
        super().__exit__(kind, error, trace)

    def _add(self, tensor: torch.Tensor) -> None:
        local = getattr(tensor, "_local_tensor", tensor)  # of a distributed tensor
        storage = local.untyped_storage()
        key = storage._cdata
        if key in self._sizes:
            return
        self._sizes[key] = 0
        weakref.finalize(storage, self._forget, key)
        self._set(key, storage.nbytes())

    def _set(self, key: int, size: int) -> None:
        self.current += size - self._sizes[key]
        self._sizes[key] = size
        self.peak = max(self.peak, self.current)

    def _forget(self, key: int) -> None:
        self.current -= self._sizes.pop(key, 0)
