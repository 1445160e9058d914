"""ZeRO: processes share out a network's moments (stage 1), gradients (2) and weights (3). The only home of
DeepSpeed.

One engine a network. What DeepSpeed gives is used in one way that works at every stage: the network is called
as the engine's module, as often as wanted, while all other networks are frozen. What is saved is whole
tensors by their parameter's name, as without ZeRO, so a checkpoint loads under any stage and number of
processes; nothing of DeepSpeed's own format is written or read.
"""

import copy
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from distgan.errors import UserError, writing
from distgan.parallel.optimized_network import (
    FIRST_SCALE,
    SCALE_WINDOW,
    Adam,
    OptimizedNetwork,
    count_bytes,
    list_persistent_buffers,
    make_adam,
)
from distgan.parallel.processes import Parallel

MOMENTS = ("exp_avg", "exp_avg_sq")
SMALL = 100_000  # numbers; up to this, a stage-3 parameter stays whole between its uses
BUCKET = 50_000_000  # numbers; DeepSpeed's own 500 million are 2 GB a network


class ZeroNetwork(OptimizedNetwork):
    """One network under a DeepSpeed engine of stage 1, 2 or 3.

    This process's part of the float32 weights, of each moment and of each average is a list of flat tensors
    (`parts`); `gather` makes whole tensors of such a list and `scatter` the reverse, all processes together.
    """

    partitioned = True

    def __init__(self, name: str, network: nn.Module, optimizer: Adam, parallel: Parallel) -> None:
        self.name, self.parallel, self.zero = name, parallel, parallel.choose_stage(name)
        assert all(p.requires_grad for p in network.parameters()), f"{name} has frozen parameters"
        self._twin = _make_meta_copy(network)  # what `gather_network` fills
        deepspeed = _import_deepspeed(parallel)
        settings = _make_engine_config(parallel, self.zero)
        if self.zero == 3:
            _partition_parameters(network, parallel, deepspeed.zero.Init(config_dict_or_path=settings))
        else:
            parallel.place_network(network)
        adam = make_adam(list(network.parameters()), optimizer)
        self.engine: Any = deepspeed.initialize(model=network, optimizer=adam, config=settings)[0]
        self.plain = self.network = self.engine.module
        self.trainable = dict(self.plain.named_parameters())
        self._buffers = list_persistent_buffers(self.plain)
        self.buffers = [b for b in self._buffers.values() if b.is_floating_point()]
        self.adam = adam
        self._sharded: Any = self.engine.optimizer
        self._sharded.loss_scaler.raise_error_at_min_scale = False  # the loop counts skips, and ends it
        self._steady = 0  # steps since the fp16 loss scale last changed
        self._disk = parallel.settings.offload.path
        if self._disk is not None:
            for flat in self._list_flat_weights():
                flat.data = _map_file(Path(self._disk), flat.numel()).copy_(flat.data)
        self._forget_moments()
        gather = self.zero == 3 and parallel.settings.gather_penalty and name == "discriminator"
        self._whole_in_backward = deepspeed.zero.GatheredParameters if gather else None

    # ------------------------------------------------------------------------------------------- update

    def set_rate(self, learning_rate: float, beta2: float) -> None:
        """Do as `OptimizedNetwork.set_rate`."""
        for group in self._sharded.param_groups:
            group["lr"], group["betas"] = float(learning_rate), (group["betas"][0], float(beta2))

    def backward(self, loss: Tensor) -> None:
        """Do as `OptimizedNetwork.backward`."""
        # What the engine's own forward would do, which calls to the module pass by.
        if hasattr(self._sharded, "clear_backward_seen_flag"):
            self._sharded.clear_backward_seen_flag()
        self.engine._backward_prologue()
        gathered = self._whole_in_backward
        with nullcontext() if gathered is None else gathered(list(self.trainable.values())):
            # A loss that is not finite spoils its gradients, whatever backward makes of it.
            guard = torch.where(torch.isfinite(loss.detach()), 1.0, torch.nan)
            self.engine.backward(loss * guard, scale_wrt_gas=False)

    def step(self, clip: float = 0.0) -> Tensor:
        """Do as `OptimizedNetwork.step`; the engine averages and clips the gradients."""
        self._sharded.clip_grad = clip
        self.engine.step()
        if self.parallel.dtype == torch.float16:
            self._grow_loss_scale()
        return torch.as_tensor(float(self.engine.get_global_grad_norm()), device=self.parallel.device)

    def apply(self, gradient: Mapping[str, Tensor], clip: float = 0.0) -> Tensor:
        """Make one Adam step with a gradient that is known, by name of weight, and the same on every process:
        that of a loss which is linear in the weights. Stages 1 and 2 only.
        """
        assert self.zero < 3, "at stage 3 no process has whole weights"
        assert gradient.keys() == self.trainable.keys(), "a gradient is of all weights"
        self.backward(torch.stack([(p * gradient[name]).sum() for name, p in self.trainable.items()]).sum())
        return self.step(clip)

    def _grow_loss_scale(self) -> None:
        """Double the loss scale after so many steps without overflow; the engine has halved it after one.

        The engine's own growth comes before it divides the gradients, which are then half of what they are.
        """
        self._steady = 0 if self._sharded.overflow else self._steady + 1
        if self._steady == SCALE_WINDOW:
            self._sharded.loss_scaler.cur_scale *= 2
            self._steady = 0

    def collect_figures(self) -> dict[str, Tensor]:
        """Do as `OptimizedNetwork.collect_figures`."""
        if self.parallel.dtype != torch.float16:
            return {}
        return {"loss_scale": torch.tensor(float(self._sharded.cur_scale), device=self.parallel.device)}

    # ------------------------------------------------------------------------------------ whole and parts

    @property
    def parts(self) -> list[Tensor]:
        """This process's part of the float32 weights: the live flat tensors."""
        if self.zero == 3:
            return [flat.data for flat in self._sharded.fp32_partitioned_groups_flat]
        return [flat.data for flat in self._sharded.single_partition_of_fp32_groups]

    @torch.no_grad()
    def gather(self, parts: list[Tensor]) -> dict[str, Tensor]:
        """Return whole tensors by parameter name, on the CPU of rank 0; nothing on the others."""
        whole: dict[str, Tensor] = {}
        for name, parameter in self.trainable.items():
            tensor = self._gather_one(parameter, parts)
            if self.parallel.is_main:
                whole[name] = tensor.cpu()
        return whole

    def _gather_one(self, parameter: Any, parts: list[Tensor]) -> Tensor:
        if self.zero == 3:
            mine = self._place_3(parameter, parts).to(self.parallel.device)
            whole = mine.new_empty(self.parallel.world_size * mine.numel())
            dist.all_gather_into_tensor(whole, mine.contiguous())
            return whole[: parameter.ds_numel].view(parameter.ds_shape)
        whole = torch.zeros(parameter.numel(), dtype=torch.float32, device=self.parallel.device)
        mapping = parameter._hp_mapping
        if mapping is not None:
            here = mapping.lp_fragment_address
            whole.narrow(0, here.start, here.numel).copy_(self._place_2(mapping, parts))
        dist.all_reduce(whole)  # each number is one process's, and 0 elsewhere
        return whole.view_as(parameter)

    @torch.no_grad()
    def scatter(self, whole: Mapping[str, Tensor], parts: list[Tensor]) -> None:
        """Fill `parts` from whole tensors, which every process has.

        Raises:
            KeyError, RuntimeError: they are of another network.
        """
        for name, parameter in self.trainable.items():
            tensor: Tensor = whole[name]
            p: Any = parameter
            shape = p.ds_shape if self.zero == 3 else p.shape
            if tensor.shape != shape:
                raise RuntimeError(f"{name} has shape {tuple(tensor.shape)}, not {tuple(shape)}")
            flat = tensor.reshape(-1).float()
            if self.zero == 3:
                mine = self._place_3(p, parts)
                part = flat[self.parallel.rank * mine.numel() :][: mine.numel()]
                mine[: part.numel()].copy_(part)
            elif p._hp_mapping is not None:
                here = p._hp_mapping.lp_fragment_address
                self._place_2(p._hp_mapping, parts).copy_(flat.narrow(0, here.start, here.numel))

    def _place_2(self, mapping: Any, parts: list[Tensor]) -> Tensor:
        here = mapping.hp_fragment_address
        return parts[mapping.param_group_index].narrow(0, here.start, here.numel)

    def _place_3(self, parameter: Any, parts: list[Tensor]) -> Tensor:
        group, start, numel = self._sharded.grad_position[self._sharded.get_param_id(parameter)]
        return parts[group].narrow(0, start, numel)

    def gather_network(self, parts: list[Tensor] | None = None) -> nn.Module:
        """Return a plain copy of the network, filled on rank 0 and without memory elsewhere."""
        tensors = self.gather(self.parts if parts is None else parts)
        if not self.parallel.is_main:
            return self._twin
        network = copy.deepcopy(self._twin).to_empty(device=self._choose_copy_device())
        network.load_state_dict(tensors | self.collect_buffers())
        return network.requires_grad_(False)

    def _choose_copy_device(self) -> torch.device:
        """Return the device for a whole copy: this process's, or the CPU where it does not fit there."""
        device = self.parallel.device
        needed = count_bytes([*self._twin.parameters(), *self._twin.buffers()])
        fits = device.type != "cuda" or torch.cuda.mem_get_info(device)[0] > needed
        return device if fits else torch.device("cpu")

    def collect_buffers(self) -> dict[str, Tensor]:
        """Return the buffers (statistics); those that the engine made half precision in their first type."""
        kinds = {name: buffer.dtype for name, buffer in self._twin.named_buffers()}
        return {
            name: buffer.detach().to("cpu", kinds[name], copy=True) for name, buffer in self._buffers.items()
        }

    def count_held_bytes(self) -> dict[str, int]:
        """Do as `OptimizedNetwork.count_held_bytes`."""
        parameters: list[Any] = list(self.trainable.values())
        weights = [p.ds_tensor for p in parameters] if self.zero == 3 else parameters
        states = [self._find_adam_states(flat) for flat in self._list_flat_weights()]
        moments = [state[moment] for state in states if state for moment in MOMENTS]
        return {
            "weights": count_bytes(weights),
            "master": count_bytes(self.parts),
            "moments": count_bytes(moments),
        }

    # ---------------------------------------------------------------------------------------- save, load

    def collect_state(self) -> dict[str, dict[str, Tensor]]:
        """Return the state of a whole network on rank 0; the other processes take part and get less."""
        weights, moments = self.gather(self.parts) | self.collect_buffers(), self._gather_moments()
        scaler = self._collect_scaler_state() if self.parallel.dtype == torch.float16 else None
        return {"weights": weights, "optimiser": moments, **({} if scaler is None else {"scaler": scaler})}

    def _gather_moments(self) -> dict[str, Tensor]:
        states = [self._find_adam_states(flat) for flat in self._list_flat_weights()]
        if not all(states):
            return {}
        found: dict[str, Tensor] = {}
        for moment in MOMENTS:
            whole = self.gather([state[moment] for state in states])
            found |= {f"{name}.{moment}": tensor for name, tensor in whole.items()}
        steps = states[0]["step"].detach().cpu()
        return found | ({f"{name}.step": steps.clone() for name in self.trainable} if found else {})

    def _list_flat_weights(self) -> list[Any]:
        """Return the flat weights by which Adam keeps its moments."""
        sharded = self._sharded
        return list(
            sharded.fp32_partitioned_groups_flat
            if self.zero == 3
            else sharded.single_partition_of_fp32_groups
        )

    def _find_adam_states(self, flat: Any) -> dict[str, Tensor]:
        return self._sharded.optimizer.state.get(flat, {})

    def restore(self, state: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Do as `OptimizedNetwork.restore`."""
        weights, moments = state["weights"], state["optimiser"]
        self.scatter(weights, self.parts)
        for name, buffer in self._buffers.items():
            buffer.copy_(weights[name])
        self._show_weights()
        self._forget_moments()
        if moments:
            self._restore_moments(moments)
        if self.parallel.dtype == torch.float16 and "scaler" in state:
            self._restore_scaler(state["scaler"])

    def _restore_moments(self, moments: Mapping[str, Tensor]) -> None:
        steps = next(value for key, value in moments.items() if key.endswith(".step"))
        flats = self._list_flat_weights()
        filled = {moment: [self._make_zero_moment(flat) for flat in flats] for moment in MOMENTS}
        for moment, parts in filled.items():
            self.scatter({name: moments[f"{name}.{moment}"] for name in self.trainable}, parts)
        for place, flat in enumerate(flats):
            own = {moment: parts[place] for moment, parts in filled.items()}
            self._sharded.optimizer.state[flat] = {"step": steps.to(flat.device, copy=True).float(), **own}

    def _forget_moments(self) -> None:
        """Drop the moments: Adam makes its own at the first step, in memory; on disk, they are made here."""
        self._sharded.optimizer.state.clear()
        if self._disk is not None:
            for flat in self._list_flat_weights():
                blank = {moment: self._make_zero_moment(flat) for moment in MOMENTS}
                self._sharded.optimizer.state[flat] = {"step": torch.zeros(()), **blank}

    def _make_zero_moment(self, flat: Any) -> Tensor:
        """Return zeros for one moment, on the device or disk that holds moments."""
        return (
            torch.zeros_like(flat.data) if self._disk is None else _map_file(Path(self._disk), flat.numel())
        )

    @torch.no_grad()
    def _show_weights(self) -> None:
        """Copy the float32 weights to those that the network computes with."""
        sharded = self._sharded
        if self.zero < 3:
            sharded.update_lp_params()
            return
        for place, flat in enumerate(sharded.fp32_partitioned_groups_flat):
            sharded.fp16_partitioned_groups_flat[place].data.copy_(flat.data)
            sharded._unflatten_partitioned_parameters(place)
        small = sharded.persistent_parameters  # held whole by every process
        if small:
            small[0].partition(small)
            small[0].all_gather(small)

    def _collect_scaler_state(self) -> dict[str, Tensor]:
        scale = torch.tensor(float(self._sharded.loss_scaler.cur_scale))
        return {"scale": scale, "steps": torch.tensor(self._steady, dtype=torch.int32)}

    def _restore_scaler(self, state: Mapping[str, Tensor]) -> None:
        self._sharded.loss_scaler.cur_scale = float(state["scale"])
        self._steady = int(state["steps"])


def _make_meta_copy(network: nn.Module) -> nn.Module:
    """Return a copy without memory: parameters and buffers of the same shapes on the meta device."""
    memo: dict[int, Any] = {}
    for tensor in (*network.parameters(), *network.buffers()):
        empty = torch.empty_like(tensor, device="meta")
        memo[id(tensor)] = nn.Parameter(empty) if isinstance(tensor, nn.Parameter) else empty
    return copy.deepcopy(network, memo)


def _partition_parameters(network: nn.Module, parallel: Parallel, init: Any) -> None:
    """Cut rank 0's parameters among the processes, a module's own at a time: besides its shares, a process
    other than rank 0 never holds more of a hollow network (`Parallel.build_networks`) than one module.
    """
    for module in network.modules():
        for name, parameter in module.named_parameters(recurse=False):
            values = torch.empty_like(parameter, device="cpu") if parameter.is_meta else parameter.data
            module.register_parameter(name, nn.Parameter(values.to(parallel.dtype)))
        init._convert_to_zero_parameters(module.parameters(recurse=False))
        for name, buffer in module.named_buffers(recurse=False):
            filled = torch.empty_like(buffer, device="cpu") if buffer.is_meta else buffer
            setattr(module, name, filled.to(parallel.device))
    parallel.broadcast(list(network.buffers()))


def _map_file(folder: Path, numbers: int) -> Tensor:
    """Return float32 zeros in a file that the system reads and writes as they are used; it goes with the
    process.

    Raises:
        DiskFull: there is not room for them all.
        UserError: the folder cannot be written.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".offload-") as file:
            os.posix_fallocate(file.fileno(), 0, 4 * numbers)  # a map of a full disk would kill the process
            return torch.from_file(file.name, shared=True, size=numbers, dtype=torch.float32)


def _import_deepspeed(parallel: Parallel) -> Any:
    """Return DeepSpeed, ready for use without a compiler.

    Raises:
        UserError: it is not installed.
    """
    if parallel.device.type == "cpu":
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    try:
        with _hide_module("mlflow"):  # which its autotuner would import: seconds, for what is not used here
            import deepspeed
    except ImportError:
        raise UserError(
            f"engine.zero {parallel.settings.zero} needs DeepSpeed; pip install "
            "'distgan[deepspeed]', or use engine.zero=0"
        ) from None
    deepspeed.utils.logger.setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message="`torch.distributed", category=FutureWarning)  # its own calls
    if parallel.device.type == "cpu":
        # It compiles this for minutes, for inference alone.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    parallel.lend_local_rank()
    if not dist.is_initialized():  # one process: a group of its own, without an address
        backend = "gloo" if parallel.device.type == "cpu" else "nccl"
        dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
        parallel.owns_group = True
    _forget_groups(deepspeed.utils.groups)
    return deepspeed


@contextmanager
def _hide_module(name: str) -> Iterator[None]:
    """Make a module that is not imported yet look absent: those that can do without it leave it out."""
    hidden = name not in sys.modules
    if hidden:
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if hidden:
            del sys.modules[name]


def _forget_groups(groups: Any) -> None:
    """Remove groups from DeepSpeed, which keeps them for the whole process, beyond the end of their world."""
    known = groups._WORLD_GROUP
    if known is not None and known not in dist.distributed_c10d._world.pg_map:
        groups._release_process_group_references()


def _make_engine_config(parallel: Parallel, stage: int) -> dict[str, Any]:
    """Return the engine's settings, each of them: several defaults change a training without a message."""
    asked, on_gpu = parallel.settings, parallel.device.type == "cuda"
    held = "none" if asked.offload.optimizer == "none" else "cpu"
    zero: dict[str, Any] = {
        "stage": stage,
        "overlap_comm": False,
        "reduce_bucket_size": BUCKET,
        "allgather_bucket_size": BUCKET,
        "offload_optimizer": {"device": held, "pin_memory": on_gpu and asked.offload.optimizer == "cpu"},
    }
    if stage == 3:
        zero |= {
            "stage3_prefetch_bucket_size": BUCKET,
            "stage3_param_persistence_threshold": SMALL,
            "memory_efficient_linear": False,  # it would replace torch's linear in the whole process
            "offload_param": {"device": asked.offload.parameters, "pin_memory": on_gpu},
        }
    half: dict[str, Any] = {}
    if asked.precision == "bf16":
        half = {"bf16": {"enabled": True, "check_grad_overflow": True}}
    if asked.precision == "fp16":
        never = 2**31  # `_grow_loss_scale` does it
        power = int(FIRST_SCALE).bit_length() - 1
        scaling = {"loss_scale": 0, "initial_scale_power": power, "loss_scale_window": never}
        half = {"fp16": {"enabled": True, "hysteresis": 1, "min_loss_scale": 1, **scaling}}
    if half:  # spectral norm multiplies its statistics with the weights
        half["data_types"] = {"buffer_dtype": asked.precision}
    return {
        "train_micro_batch_size_per_gpu": 1,  # its reports count by this; the loader decides
        "gradient_accumulation_steps": 1,
        "managed_gradient_accumulation": False,  # a step is when we say so
        "gradient_clipping": 0.0,  # the default is 1; `step` sets it
        "steps_per_print": 2**31,
        "zero_allow_untested_optimizer": True,  # torch's Adam: DeepSpeed's own are compiled
        "zero_force_ds_cpu_optimizer": False,
        "zero_optimization": zero,
        **half,
    }
