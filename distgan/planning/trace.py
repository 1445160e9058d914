"""The cost of a step, counted as the real networks and losses run on the meta device.

No number is computed: from the shapes of every operation follow its floating-point operations, the bytes it
moves, and the memory that is alive after it. The bytes are those that torch's tensors take on any device, to
the byte (a test runs the same step on the CPU).
"""

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

from distgan import config, models
from distgan.data.loader import Batch
from distgan.errors import UserError
from distgan.models import make_objective
from distgan.models.layers import checkpoint_activations
from distgan.objectives.adversarial import Arithmetic, Conditions
from distgan.objectives.base import Phase
from distgan.parallel.processes import PRECISIONS, Parallel

LABELS = 2
ATTRIBUTE_NUMBERS = 4  # of a condition for each attribute
KINDS = ("matrix", "attention", "convolution", "other")
MATRIX, ATTENTION, CONVOLUTION, OTHER = range(len(KINDS))
WORDS = {"scaled_dot_product": ATTENTION, "convolution": CONVOLUTION, "mm": MATRIX, "mv": MATRIX}
FEW_STEPS = (2, 4)  # of recurrent networks, whose work and memory grow by the same amount with every step


def count_fused_attention(q: Any, k: Any, v: Any, *rest: Any, out_val: Any = None, **kwargs: Any) -> int:
    return int(sdpa_flop_count(q.shape, k.shape, v.shape))


def count_fused_attention_backward(grad: Any, q: Any, k: Any, v: Any, *rest: Any, **kwargs: Any) -> int:
    return int(sdpa_backward_flop_count(grad.shape, q.shape, k.shape, v.shape))


def count_vector_product(matrix: Any, vector: Any, **kwargs: Any) -> int:
    return 2 * int(matrix.numel())


UNCOUNTED = {  # by torch itself, as of 2.13
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: count_fused_attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: count_fused_attention_backward,
    torch.ops.aten.mv: count_vector_product,
}


class ImaginaryProcesses(Parallel):
    """Processes that do not exist, for arithmetic alone."""

    def __init__(self, settings: config.Engine, world_size: int = 1, device: str = "cuda") -> None:
        self.settings, self.world_size, self.rank = settings, world_size, 0
        self.device = torch.device(device)


@dataclass(frozen=True)
class Work:
    """The operations of a step over `series` series at a time, and the most memory alive.

    Each array has one place for each operation.

    Attributes:
        kinds: index in KINDS.
        half: whether in half precision.
        flops, bytes: floating-point operations; bytes read and written.
        scores: exponentials of attention.
        counts: how often a step has it, a mean over the training.
        peak: bytes besides weights, gradients and optimiser.
        updates, gathers: for each network, how often a step updates it, and how often it gathers its weights.
        averaged: the networks with a moving average.
    """

    series: float
    kinds: np.ndarray
    half: np.ndarray
    flops: np.ndarray
    bytes: np.ndarray
    scores: np.ndarray
    counts: np.ndarray
    peak: float
    updates: dict[str, float]
    gathers: dict[str, float]
    averaged: tuple[str, ...] = ()

    def sum_flops(self, *kinds: int) -> float:
        """Return the floating-point operations of a step, of these kinds."""
        return float((self.flops * self.counts)[np.isin(self.kinds, kinds)].sum())

    def scale_to(self, series: float, other: "Work") -> "Work":
        """Return the operations for another number of series, on the line through this work and `other`."""
        share = (series - self.series) / (other.series - self.series)

        def interpolate(here: Any, there: Any) -> Any:
            return here + share * (there - here)

        assert len(self.kinds) == len(other.kinds) and (self.kinds == other.kinds).all()
        names = ("flops", "bytes", "scores", "peak")
        changed = {name: interpolate(getattr(self, name), getattr(other, name)) for name in names}
        return replace(self, series=series, **changed)


def join_work(parts: Sequence[tuple[float, Work]]) -> Work:
    """Join parts that a step has so often each; the most memory is that of the largest."""
    works = [work for _, work in parts]

    def sum_counts(name: str) -> dict[str, float]:
        keys = {key for work in works for key in getattr(work, name)}
        return {key: sum(c * getattr(w, name).get(key, 0.0) for c, w in parts) for key in sorted(keys)}

    return Work(
        series=works[0].series,
        kinds=np.concatenate([work.kinds for work in works]),
        half=np.concatenate([work.half for work in works]),
        flops=np.concatenate([work.flops for work in works]),
        bytes=np.concatenate([work.bytes for work in works]),
        scores=np.concatenate([work.scores for work in works]),
        counts=np.concatenate([count * work.counts for count, work in parts]),
        peak=max(work.peak for work in works),
        updates=sum_counts("updates"),
        gathers=sum_counts("gathers"),
        averaged=works[0].averaged,
    )


class Trace(TorchDispatchMode):
    """A mode that records operations on tensors of `device`, and the memory that is alive.

    An operation is (kind, half, flops, bytes, scores); views are none, nor are copies from another device:
    constants are copied at their first use only. Memory counts what was made inside.
    """

    def __init__(self, device: str = "meta") -> None:
        super().__init__()
        self.device = device
        self.operations: list[tuple[int, bool, float, float, float]] = []
        self.alive: dict[int, weakref.ref] = {}
        self.shapes: dict[Any, Any] = {}
        self.now = self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        aliases, is_view, kind, count = _describe_operation(func)
        out = func(*args, **kwargs) if aliases else self._make_output(func, args, kwargs)
        made = [t for t in _list_tensors(out) if t.device.type == self.device]
        if is_view or not made:
            return out
        if not aliases:
            for tensor in made:
                self._count_memory(tensor)
        given = _list_tensors(args)
        if given and all(t.device.type != self.device for t in given):
            return out
        seen = [t for t in (*given, *made) if t.device.type == self.device]
        flops = float(count(*args, **kwargs, out_val=out)) if count else 0.0
        half = made[0].element_size() == 2
        moved = float(sum(t.numel() * t.element_size() for t in seen))
        # A score takes 4 operations for each feature: two for q k, two for p v.
        scores = flops / (4 * args[0].shape[-1]) if kind == ATTENTION else 0.0
        self.operations.append((kind, half, flops, moved, scores))
        return out

    def _make_output(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Return the output of the operation. Many blocks do the same, and torch takes long to compute a
        shape: the second time it is known.
        """
        if self.device != "meta":
            return func(*args, **kwargs)
        key = (func, _make_signature(args), _make_signature(tuple(sorted(kwargs.items()))))
        if key not in self.shapes:
            out = func(*args, **kwargs)
            forms = [_describe_value(t) for t in _list_tensors(out)]
            simple = isinstance(out, Tensor | tuple) and len(forms) == (len(out) if type(out) is tuple else 1)
            given = {
                t.untyped_storage()._cdata
                for t in (*_list_tensors(args), *_list_tensors(tuple(kwargs.values())))
            }
            own = all(t.is_meta and t.untyped_storage()._cdata not in given for t in _list_tensors(out))
            self.shapes[key] = (type(out), forms) if simple and own else None
            return out
        known = self.shapes[key]
        if known is None:
            return func(*args, **kwargs)
        kind, forms = known
        tensors = [torch.empty_strided(*form[:2], dtype=form[2], device="meta") for form in forms]
        return tuple(tensors) if kind is tuple else tensors[0]

    def _count_memory(self, tensor: Tensor) -> None:
        """Count the tensor's memory until nobody holds it; a reshaped tensor is no new memory."""
        storage = tensor.untyped_storage()
        place, size = storage._cdata, storage.nbytes()
        if place in self.alive:
            return

        def free(reference: weakref.ref) -> None:
            self.now -= size
            del self.alive[place]

        self.alive[place] = weakref.ref(storage, free)
        self.now += size
        self.peak = max(self.peak, self.now)


def _list_tensors(tree: Any) -> list[Tensor]:
    if isinstance(tree, Tensor):
        return [tree]
    return [t for part in tree for t in _list_tensors(part)] if isinstance(tree, tuple | list) else []


def _describe_value(tensor: Tensor) -> tuple[Any, ...]:
    return tuple(tensor.shape), tuple(tensor.stride()), tensor.dtype, tensor.device.type


def _make_signature(tree: Any) -> Any:
    """Return all that an operation's shapes can depend on, hashable."""
    if isinstance(tree, Tensor):
        return _describe_value(tree)
    return tuple(map(_make_signature, tree)) if isinstance(tree, tuple | list) else (type(tree), tree)


@cache
def _describe_operation(func: Any) -> tuple[bool, bool, int, Callable[..., Any] | None]:
    """Return whether an operation's output is memory it was given, whether it is a view, its kind, and what
    counts its flops.
    """
    aliased = [r.alias_info for r in func._schema.returns if r.alias_info is not None]
    is_view = any(not alias.is_write for alias in aliased)
    packet = func._overloadpacket
    count = flop_registry.get(packet, UNCOUNTED.get(packet))
    kind = next((k for word, k in WORDS.items() if word in str(packet)), OTHER) if count else OTHER
    return bool(aliased), is_view, kind, count


def build_meta_networks(settings: config.Config, length: int, channels: int) -> dict[str, nn.Module]:
    """Build the config's networks without memory.

    Raises:
        UserError: the family is fitted at once, and has nothing to plan.
    """
    if settings.model.fitted:
        raise UserError(
            f"model {settings.model.name} is fitted in one step on one CPU, so there is nothing "
            "to plan; choose another model"
        )
    with torch.device("meta"), _SkipInitialisation():
        return models.build(settings, length, channels, count_labels(settings))


class _SkipInitialisation(TorchFunctionMode):
    """Skip the functions of `torch.nn.init`: tensors without memory have no values, and random ones for them
    would import torch's compiler, which takes more than a second.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)


def count_labels(settings: config.Config) -> int:
    """Return a small number in place of one that only the data give: a network's size hardly depends on
    it.
    """
    return LABELS if settings.bank.by_label else ATTRIBUTE_NUMBERS * len(settings.bank.by)


def count_parameters(settings: config.Config, length: int, channels: int) -> dict[str, int]:
    """Return the number of parameters of each network, by its name in `models.build`."""
    return dict(_count_sizes(settings.model, _reduce_bank(settings), length, channels))


@lru_cache(maxsize=32)
def _count_sizes(model: Any, bank: config.Bank, length: int, channels: int) -> tuple[tuple[str, int], ...]:
    settings = config.Config().model_copy(update={"model": model, "bank": bank})
    networks = build_meta_networks(settings, length, channels)
    return tuple((name, sum(p.numel() for p in network.parameters())) for name, network in networks.items())


def _reduce_bank(settings: config.Config) -> config.Bank:
    """Return the default bank but for what networks depend on."""
    names = ("condition_dim", "by_label", "by", "training")  # a study may have wide conditions
    chosen = {name: getattr(settings.bank, name) for name in names}
    return config.Bank().model_copy(update=chosen)


def trace_step(settings: config.Config, length: int, channels: int, series: int) -> Work:
    """Return the work of a step over `series` series of `length` steps.

    Recurrent networks are counted over a few steps only: each further one adds the same.

    Raises:
        UserError: the family is fitted at once, and has nothing to plan.
    """
    asked = settings.engine
    kept = {"precision": asked.precision, "checkpoint_activations": asked.checkpoint_activations}
    zero: dict[str, int] = {}
    if asked.precision != "fp32":  # what ZeRO shares out is stored in half precision
        stages = {
            name: min(ImaginaryProcesses(asked).choose_stage(name), 1)
            for name in ("generator", "discriminator")
        }
        zero = {"zero": stages["generator"], "discriminator_zero": stages["discriminator"]}
    engine = config.Engine.model_validate({**kept, **zero})
    plain = config.Config().model_copy(  # what nothing here depends on, as by default: each is counted once
        update={
            "model": settings.model,
            "objective": settings.objective,
            "bank": _reduce_bank(settings),
            "encoder": config.Encoder(
                latent_dim=max(config.Encoder().latent_dim, settings.bank.condition_dim)
            ),
            "train": config.Train(steps=settings.train.steps),
            "engine": engine,
        }
    )
    if not settings.model.recurrent or length <= max(FEW_STEPS):
        return _trace_cached(plain.model_dump_json(), length, channels, series)
    few, more = (_trace_cached(plain.model_dump_json(), steps, channels, series) for steps in FEW_STEPS)
    share = (length - FEW_STEPS[0]) / (FEW_STEPS[1] - FEW_STEPS[0])
    peak = few.peak + share * (more.peak - few.peak)
    return replace(join_work([(1 - share, few), (share, more)]), peak=peak)


@lru_cache(maxsize=32)
def _trace_cached(tree: str, length: int, channels: int, series: int) -> Work:
    """Trace a config as JSON: with its maps it does not hash."""
    settings = config.Config.model_validate_json(tree)
    networks = build_meta_networks(settings, length, channels)
    dtype = PRECISIONS[settings.engine.precision]
    for name, network in networks.items():
        if ImaginaryProcesses(settings.engine).choose_stage(name) > 0:
            network.to(dtype)
    if settings.engine.checkpoint_activations:
        checkpoint_activations(list(networks.values()))
    for parameter in (p for network in networks.values() for p in network.parameters()):
        parameter.grad = torch.empty_like(parameter)
    width = models.compute_condition_width(settings, channels, count_labels(settings))
    condition = torch.empty(series, width, device="meta")
    objective = make_objective(
        settings,
        networks,
        conditions=Conditions(generated=lambda batch: condition),
        arithmetic=Arithmetic(dtype=dtype),
    )
    parts = [
        (share, _trace_phase(phase, networks, make_batch(series, length, channels)))
        for phase in objective.phases
        if (share := compute_due_share(phase, settings.train.steps)) > 0
    ]
    return replace(join_work(parts), averaged=tuple(objective.averaged))


def make_batch(series: int, length: int, channels: int, device: str = "meta") -> Batch:
    """Make series that are all measured, and have no values on the meta device."""
    places = torch.arange(series)
    values = torch.zeros(series, length, channels, device=device)
    return Batch(values, torch.ones_like(values), places, places, 0)


def compute_due_share(phase: Phase, steps: int) -> float:
    """Return the share of a training's steps that have the phase."""
    stop = steps if phase.stop is None else min(phase.stop, steps)
    return len(range(phase.start, stop, phase.every)) / steps


def _trace_phase(phase: Phase, networks: dict[str, nn.Module], batch: Batch) -> Work:
    gathers = dict.fromkeys(networks, 0.0)

    def make_hook(name: str) -> Callable[..., None]:
        def count_pass(module: nn.Module, inputs: Any) -> None:
            gathers[name] += 2.0 if torch.is_grad_enabled() else 1.0  # backward looks at the weights again

        return count_pass

    for name, network in networks.items():
        network.requires_grad_(name == phase.network)
    hooks = [network.register_forward_pre_hook(make_hook(name)) for name, network in networks.items()]
    with Trace() as trace:
        torch.autograd.backward(phase.loss(batch)["loss"])
    for hook in hooks:
        hook.remove()
    kinds, half, flops, moved, scores = (np.array(column) for column in zip(*trace.operations))
    once, series = np.ones(len(kinds)), len(batch.sample)
    return Work(series, kinds, half, flops, moved, scores, once, trace.peak, {phase.network: 1.0}, gathers)
