"""A device whose numbers the host never sees, in a GPU's place: torch's meta device, watched."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import distgan

FAR = torch.device("meta")
PACKAGE = str(Path(distgan.__file__).parent)
MOVING = ("aten.copy_.", "aten._to_copy.", "aten.to.")
BY_VALUE = (torch.tensor, torch.as_tensor, torch.asarray, torch.scalar_tensor)  # of numbers on the host


class _Dispatch(TorchDispatchMode):
    """Note operations that make a GPU's host wait, or that no GPU can do."""

    def __init__(self, found: list[str]) -> None:
        super().__init__()
        self.found = found

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        near, far = _divide((args, kwargs))
        out = func(*args, **kwargs)
        if str(func).startswith(MOVING):
            arrived = bool(near) and _divide(out)[1]
            if arrived and not _is_asynchronous(func, args, kwargs):
                self.found.append(f"waits for a copy of {_describe(near)}{_find_place()}")
        elif far and any(tensor.dim() or "where" in str(func) for tensor in near):  # a kernel takes a number
            self.found.append(f"{func} of {_describe(near)} on the CPU{_find_place()}")
        return out


class _Functions(TorchFunctionMode):
    """Note numbers of the host that become tensors of the device; torch's meta device copies none."""

    def __init__(self, found: list[str]) -> None:
        super().__init__()
        self.found = found

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func in BY_VALUE and isinstance(out, Tensor) and out.is_meta:
            self.found.append(f"waits for a copy of numbers{_find_place()}")
        if func in (Tensor.__getitem__, Tensor.__setitem__) and args[0].is_meta:
            index = args[1] if isinstance(args[1], tuple) else (args[1],)
            if any(isinstance(part, list) for part in index):
                self.found.append(f"waits for a copy of an index{_find_place()}")
        return out


@contextmanager
def watch_device() -> Iterator[list[str]]:
    """Yield the list of what the block does that would make the host of a GPU wait, or fail on a GPU. What
    needs a number from the device (`item`, `tolist`, `if`) raises an error of torch by itself.
    """
    found: list[str] = []
    with _Functions(found), _Dispatch(found):
        yield found


def _divide(tree: Any) -> tuple[list[Tensor], list[Tensor]]:
    """Return the tensors on the CPU, and those on the device."""
    tensors = [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]
    return [t for t in tensors if t.device.type == "cpu"], [t for t in tensors if t.is_meta]


def _is_asynchronous(func: Any, args: Any, kwargs: Any) -> bool:
    names = [argument.name for argument in func._schema.arguments]
    return bool({**dict(zip(names, args)), **kwargs}.get("non_blocking"))


def _describe(tensors: list[Tensor]) -> str:
    return " and ".join(str(tuple(tensor.shape)) for tensor in tensors)


def _find_place() -> str:
    frames = [frame for frame in traceback.extract_stack() if frame.filename.startswith(PACKAGE)]
    return "".join(f" < {Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames[-3:]))
