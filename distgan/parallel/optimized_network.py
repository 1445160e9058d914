"""One network with its optimizer and the gradients of all processes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from distgan.parallel.processes import Parallel

FIRST_SCALE, SCALE_WINDOW = 2.0**16, 1000  # of the fp16 loss: it doubles after so many steps without overflow
ALIGNMENT = 32  # numbers; 128 bytes, so that fused kernels may read whole vectors of every gradient


@dataclass(frozen=True)
class Adam:
    """The optimiser of one network as it starts; `OptimizedNetwork.set_rate` changes the rate and beta2
    later.
    """

    learning_rate: float
    beta1: float = 0.0
    beta2: float = 0.99
    epsilon: float = 1e-8


class OptimizedNetwork:
    """One network with its Adam and the gradients of all processes.

    Gradients are one flat buffer, averaged over processes by one all-reduce after the backward pass, not by
    DistributedDataParallel: its hooks need its own forward, which calls to submodules bypass, and every
    parameter used in every phase. Its overlap of communication with computation would gain 1 to 3 % here
    (two gloo ranks of one thread, two forwards of a transformer a step: 0.8 M parameters 446 ms against 434,
    6.3 M 1,370 against 1,357, of which the all-reduce is 21).
    """

    partitioned = False  # whether processes hold different parts of it

    def __init__(self, name: str, network: nn.Module, optimizer: Adam, parallel: Parallel) -> None:
        self.name, self.parallel = name, parallel
        self.plain = parallel.place_network(network)
        compiled: Any = torch.compile(self.plain, dynamic=False) if parallel.compiles else self.plain
        self.network: nn.Module = compiled
        self.trainable = {n: p for n, p in self.plain.named_parameters() if p.requires_grad}
        self.buffers = [b for b in list_persistent_buffers(self.plain).values() if b.is_floating_point()]
        self.gradients, self.views = _flatten_gradients(list(self.trainable.values()))
        self.loss_scale = LossScale(parallel.device) if parallel.dtype == torch.float16 else None
        self._fresh = True  # whether the next backward pass is the first of an update
        self.adam = make_adam(list(self.trainable.values()), optimizer)

    def set_rate(self, learning_rate: float, beta2: float) -> None:
        """Set Adam's learning rate and beta2 of the next updates."""
        for group in self.adam.param_groups:
            group["lr"], group["betas"] = float(learning_rate), (group["betas"][0], float(beta2))

    def require_gradients(self, required: bool) -> None:
        """Freeze or free the parameters that were free when the network came in."""
        for parameter in self.trainable.values():
            parameter.requires_grad_(required)

    def minimise(self, loss: Tensor, clip: float = 0.0) -> Tensor:
        """Do `backward` and `step` in one call."""
        self.backward(loss)
        return self.step(clip)

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of `loss`, a scalar, to the accumulated gradient of this update."""
        if self._fresh:
            self.gradients.zero_()
            for parameter, view in zip(self.trainable.values(), self.views, strict=True):
                parameter.grad = view  # a parameter that the loss does not use has gradient 0, everywhere
        self._fresh = False
        (loss if self.loss_scale is None else loss * self.loss_scale.scale).backward()
        # The loss is reduced with the gradients: where one process's is not finite, all skip the update.
        self.gradients[-1].add_(loss.detach())

    def step(self, clip: float = 0.0) -> Tensor:
        """Make one Adam step with the mean over processes of the gradients; none where a number is not
        finite.

        Returns:
            The norm of the averaged gradient before clipping, the same on every process, on the device; not
            finite if the loss or a gradient of any process is not; then no process changes its weights.
        """
        self._fresh = True
        gradients, shown = self.gradients[:-1], self.gradients[-1]
        if self.parallel.world_size > 1:
            dist.all_reduce(self.gradients)
            self.gradients.div_(self.parallel.world_size)
        if self.loss_scale is not None:
            gradients.div_(self.loss_scale.scale)
        norm = torch.linalg.vector_norm(gradients)
        if clip > 0:
            gradients.mul_((clip / (norm + 1e-6)).clamp(max=1.0))
        norm = norm + 0.0 * shown  # 0 x inf is not a number
        bad = (~torch.isfinite(norm)).float()
        self.adam.found_inf = bad  # type: ignore[attr-defined]  # the fused step heeds it, on the device
        self.adam.step()
        if self.loss_scale is not None:
            self.loss_scale.update(bad)
        return norm

    def apply(self, gradient: Mapping[str, Tensor], clip: float = 0.0) -> Tensor:
        """Make one Adam step with a gradient that is known, by name of weight, and the same on every process.

        Returns:
            Its norm before clipping, on the device; where that is not finite, nothing was changed.
        """
        assert gradient.keys() == self.trainable.keys(), "a gradient is of all weights"
        self._fresh = True
        for (name, parameter), view in zip(self.trainable.items(), self.views, strict=True):
            view.copy_(gradient[name])
            parameter.grad = view
        norm = torch.linalg.vector_norm(torch.stack([view.norm() for view in self.views]))
        if clip > 0:
            self.gradients[:-1].mul_((clip / (norm + 1e-6)).clamp(max=1.0))
        self.adam.found_inf = (~torch.isfinite(norm)).float()  # type: ignore[attr-defined]
        self.adam.step()
        return norm

    def collect_figures(self) -> dict[str, Tensor]:
        """Return the figures of the update that a report shows."""
        return {} if self.loss_scale is None else {"loss_scale": self.loss_scale.scale.clone()}

    def gather_network(self) -> nn.Module:
        """Return the network in a form that one process alone may call."""
        return self.plain

    def count_held_bytes(self) -> dict[str, int]:
        """Return the bytes held between two steps: weights, their float32 master copy, Adam's moments."""
        moments = [t for state in self.adam.state.values() for name, t in state.items() if name != "step"]
        return {
            "weights": count_bytes(list(self.trainable.values())),
            "master": 0,
            "moments": count_bytes(moments),
        }

    def align(self) -> None:
        """Copy rank 0's buffers to every process (statistics of batch normalisation differ; weights never
        do).
        """
        self.parallel.broadcast(self.buffers)

    def collect_state(self) -> dict[str, dict[str, Tensor]]:
        """Return {"weights": as a state_dict, "optimiser": `parameter.exp_avg`, …}, the live tensors."""
        moments = {
            f"{name}.{key}": value
            for name, parameter in self.trainable.items()
            for key, value in self.adam.state.get(parameter, {}).items()
        }
        scaler = {} if self.loss_scale is None else {"scaler": self.loss_scale.collect_state()}
        return {"weights": dict(self.plain.state_dict()), "optimiser": moments, **scaler}

    def restore(self, state: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Load what `collect_state` returned, on any device.

        Raises:
            RuntimeError, KeyError: it is of another network.
        """
        self.plain.load_state_dict(dict(state["weights"]))
        moments: dict[str, dict[str, Tensor]] = {}
        for key, value in state["optimiser"].items():
            name, _, moment = key.rpartition(".")
            moments.setdefault(name, {})[moment] = value.to(self.parallel.device, copy=True)
        self.adam.state.clear()
        self.adam.state.update({self.trainable[name]: moment for name, moment in moments.items()})
        if self.loss_scale is not None and "scaler" in state:
            self.loss_scale.restore(state["scaler"])


class LossScale:
    """Factor of an fp16 loss that keeps its gradients from vanishing: halved when one overflows, doubled
    after SCALE_WINDOW steps without. It stays on the device.
    """

    def __init__(self, device: torch.device) -> None:
        self.scale = torch.full((), FIRST_SCALE, device=device)
        self.steps = torch.zeros((), dtype=torch.int32, device=device)  # since it last changed

    def update(self, bad: Tensor) -> None:
        """Halve the factor if `bad` is not 0, else count the step; the factor stays at 1 or above."""
        torch._amp_update_scale_(self.scale, self.steps, bad, 2.0, 0.5, SCALE_WINDOW)
        self.scale.clamp_(min=1.0)

    def collect_state(self) -> dict[str, Tensor]:
        return {"scale": self.scale, "steps": self.steps}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        self.scale.copy_(state["scale"])
        self.steps.copy_(state["steps"])


def count_bytes(tensors: Sequence[Tensor]) -> int:
    """Return the bytes of the numbers of some tensors."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def make_adam(parameters: list[nn.Parameter], optimizer: Adam) -> torch.optim.Adam:
    """Return torch's fused Adam, which leaves a step out by `found_inf` without a synchronisation."""
    return torch.optim.Adam(
        parameters,
        lr=optimizer.learning_rate,
        betas=(float(optimizer.beta1), float(optimizer.beta2)),
        eps=optimizer.epsilon,
        fused=True,  # 1.1 ms against 3.7 (foreach) for 530,000 parameters on one core
    )


def _flatten_gradients(parameters: list[nn.Parameter]) -> tuple[Tensor, list[Tensor]]:
    """Return one buffer for all gradients, with a last place for the loss, and a view for each parameter."""
    if not parameters:
        raise ValueError("a network without trainable parameters cannot be trained")
    spaces = [-(-parameter.numel() // ALIGNMENT) * ALIGNMENT for parameter in parameters]
    first = parameters[0]
    assert all(p.dtype == first.dtype for p in parameters), (
        "trainable parameters of one network share their type"
    )
    buffer = torch.zeros(sum(spaces) + 1, dtype=first.dtype, device=first.device)
    pieces = buffer[:-1].split(spaces)
    return buffer, [piece[: p.numel()].view_as(p) for piece, p in zip(pieces, parameters, strict=True)]


def list_persistent_buffers(network: nn.Module) -> dict[str, Tensor]:
    """Return the buffers that belong to the state_dict, by name: the live tensors."""
    saved = network.state_dict(keep_vars=True)
    return {name: buffer for name, buffer in network.named_buffers() if name in saved}
