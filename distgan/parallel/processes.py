"""Many processes as one: launch, devices, threads, precision and reductions. The only home of Accelerate."""

import gc
import os
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs
from torch import Tensor, nn

from distgan import config
from distgan.errors import LostProcess, NcclFailure, UserError, format_nearest_multiples
from distgan.memory import set_host_memory
from distgan.parallel import messages, rendezvous
from distgan.parallel.heartbeat import Heartbeat

T = TypeVar("T")

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
OTHER_ENGINES = {
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_FSDP": "FSDP",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
}
IDLE_FLAGS = {  # of `accelerate launch`: what asks for nothing, and the setting that does what they say
    "--dynamo_backend": ("no", "engine.compile=true"),
    "--gradient_accumulation_steps": ("1", "engine.micro_batch=N (series per process and forward pass)"),
}
DESERTED = (
    "connection closed",
    "connection reset",
    "refused",
    "broken pipe",
    "timed out",
    "timeout",
    "abort",
)
HOW_TO_LAUNCH = "use torchrun, or accelerate launch --multi_gpu --num_processes N (on CPU too)"


class Parallel:
    """This process among all of them. One process needs no launcher and no environment variable.

    A process group that already exists is used as it is (Ray, a notebook's spawn).

    Raises:
        UserError: the launcher started another number of processes than found each other, or it asks for a
            precision or an engine that contradicts the settings.
    """

    def __init__(self, settings: config.Engine) -> None:
        _refuse_contradictions(settings)
        brought = dist.is_initialized()
        if brought:
            _describe_to_environment()
        patience = timedelta(seconds=settings.timeout)
        with _explain_failed_rendezvous():
            rendezvous.join_process_group(patience)
            accelerator = Accelerator(
                cpu=not torch.cuda.is_available(),
                mixed_precision="no",
                kwargs_handlers=[InitProcessGroupKwargs(timeout=patience)],
            )
            # Messages between the processors: they wait for no device, so a step ends without a
            # synchronisation.
            several = accelerator.num_processes > 1
            self._control = dist.new_group(backend="gloo", timeout=patience) if several else None
        self.settings = settings
        self.compiles = settings.compile is True  # with auto, a training decides
        self.rank: int = accelerator.process_index
        self.world_size: int = accelerator.num_processes
        self.device: torch.device = accelerator.device
        _refuse_fp16(settings, self.device)
        self.dtype = PRECISIONS[settings.precision]  # of the networks' arithmetic
        self.owns_group = dist.is_initialized() and not brought
        self._check_world()
        self._heartbeat: Heartbeat | None = None
        self.lent: dict[str, str | None] = {}  # environment variables set for DeepSpeed, as they were before
        self._before = torch.get_num_threads(), torch.backends.cudnn.allow_tf32
        self.threads = _choose_threads(settings.threads)
        torch.set_num_threads(self.threads)
        set_host_memory(settings.host_memory_mib)
        # TF32 has the mantissa of fp16: finite differences of a convolution would drown in it.
        torch.backends.cudnn.allow_tf32 = False
        self._token = messages.agree_on_token(self._control) if self.world_size > 1 else b""

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def build_networks(self) -> AbstractContextManager[Any]:
        """Return the context in which networks are built before `prepare_network`. If one is cut among the
        processes (stage 3), rank 0 builds it in the memory of its CPU; elsewhere it is hollow (torch's meta
        device).
        """
        cut = 3 in (self.choose_stage("generator"), self.choose_stage("discriminator"))
        return torch.device("meta") if cut and not self.is_main else nullcontext()

    def place_network(self, network: nn.Module) -> nn.Module:
        """Return `network` on this process's device with rank 0's numbers; it may come in hollow."""
        tensors = [*network.parameters(), *network.buffers()]
        hollow = any(tensor.is_meta for tensor in tensors)
        network = network.to_empty(device=self.device) if hollow else network.to(self.device)
        self.broadcast([*network.parameters(), *network.buffers()])
        return network

    def choose_stage(self, name: str) -> int:
        """Return the ZeRO stage of the network called `name`."""
        everyone, discriminator = self.settings.zero, self.settings.discriminator_zero
        if name == "discriminator" and discriminator is not None:
            return discriminator
        return everyone if name in ("generator", "discriminator") else 0

    def compute_micro_batch(self, batch_size: int, key: str = "train.batch_size") -> int:
        """Return the series per forward pass of this process, for a global batch of `batch_size`, the
        config's key `key`.

        Raises:
            UserError: it does not divide among the processes, or their shares into micro-batches.
        """
        if batch_size % self.world_size:
            raise UserError(
                f"{key} {batch_size} is not a multiple of {self.world_size} processes; use "
                f"{format_nearest_multiples(batch_size, self.world_size)}"
            )
        share, wanted = batch_size // self.world_size, self.settings.micro_batch
        if wanted is None or wanted >= share:
            return share
        if share % wanted:
            raise UserError(
                f"{key} {batch_size} is not a multiple of engine.micro_batch {wanted} x {self.world_size} "
                f"processes; use {format_nearest_multiples(batch_size, wanted * self.world_size)}"
            )
        return wanted

    @contextmanager
    def watch_peers(self) -> Iterator[None]:
        """Turn errors that the death or silence of another process causes in the block into one line.

        Raises:
            LostProcess: a message to or from another process failed; names it.
            NcclFailure: GPUs cannot exchange messages, and no process is gone.
        """
        if self.world_size == 1 or self._heartbeat is not None:
            yield
            return
        self._heartbeat = Heartbeat(self.rank, self.world_size, self._token)
        try:
            yield
        except (RuntimeError, ConnectionError) as error:
            desertion = _is_desertion(error)
            self.owns_group &= not desertion  # leaving a broken group may wait for ever
            _refuse_nccl_failure(error, self.rank, self.world_size)
            if not desertion:
                raise
            raise LostProcess(
                f"process {self.rank} of {self.world_size} "
                f"{_describe_loss(self._heartbeat.find_silent_ranks(), self.settings.timeout)}. "
                "The last checkpoint is kept; run the same command again"
            ) from error
        finally:
            self._heartbeat.stop()
            self._heartbeat = None

    def average(self, tensor: Tensor) -> Tensor:
        """Return the mean over processes, without a gradient: any shape, on the device."""
        if self.world_size == 1:
            return tensor.detach()
        total = tensor.detach().clone()
        dist.all_reduce(total)
        return total / self.world_size

    def sum_values(self, values: np.ndarray) -> np.ndarray:
        """Return the sum over processes in float64, any shape."""
        total = torch.tensor(np.asarray(values, dtype=np.float64))
        if self.world_size > 1:
            dist.all_reduce(total, group=self._control)
        return total.numpy()

    def add_up(self, numbers: Tensor) -> None:
        """Sum over processes in place, exactly for whole numbers: int64 of any shape, on the device."""
        if self.world_size > 1:
            dist.all_reduce(numbers)

    def wait_for_all(self) -> None:
        """Wait for all others: inside `watch_peers` however long they work, elsewhere `engine.timeout`."""
        if self._heartbeat is not None:
            self._heartbeat.wait_at_barrier(self.settings.timeout)
        elif self.world_size > 1:
            dist.barrier(group=self._control)

    def find_largest(self, number: int) -> int:
        """Return the largest of all processes' numbers, without touching the device."""
        if self.world_size == 1:
            return number
        found = torch.tensor(number)
        dist.all_reduce(found, op=dist.ReduceOp.MAX, group=self._control)
        return int(found)

    def broadcast_value(self, thing: T) -> T:
        """Return rank 0's `thing`, which must be representable in JSON, on every rank."""
        if self.world_size == 1:
            return thing
        received: T = messages.broadcast(thing, self.is_main, self._control)
        return received

    def run_on_main(self, work: Callable[[], T]) -> T:
        """Do `work` on rank 0 while the others wait; all get its result, or all raise its error. Inside
        `watch_peers` they wait however long it takes, elsewhere `engine.timeout`.
        """
        if self.world_size == 1:
            return work()
        result: Any = None
        error: Exception | None = None
        if self.is_main:
            try:
                result = work()
            except Exception as caught:
                error = caught
        if self._heartbeat is not None:
            if self.is_main:
                self._heartbeat.count_work()
            else:
                self._heartbeat.await_work(self.settings.timeout)
        problem = self.broadcast_value(None if error is None else messages.pack_error(error))
        if error is not None:
            raise error
        if problem is not None:
            raise messages.unpack_error(problem)
        return self.broadcast_value(result)

    def broadcast(self, tensors: list[Tensor]) -> None:
        """Copy the values of rank 0 to every rank, in place."""
        if self.world_size == 1 or not tensors:
            return
        for dtype in sorted({tensor.dtype for tensor in tensors}, key=str):  # one message for each type
            group = [tensor.detach() for tensor in tensors if tensor.dtype == dtype]
            message = torch.cat([tensor.reshape(-1) for tensor in group])
            dist.broadcast(message, src=0)
            pieces = message.split([tensor.numel() for tensor in group])
            for tensor, piece in zip(group, pieces, strict=True):
                tensor.copy_(piece.view_as(tensor))

    def release_memory(self) -> None:
        """Give memory of the GPU that torch holds and nothing uses back: faiss, and other processes, take
        theirs beside torch.
        """
        if self.device.type == "cuda":
            gc.collect()
            torch.cuda.empty_cache()

    def lend_local_rank(self) -> None:
        """Set LOCAL_RANK, by which DeepSpeed finds its device, until `close`: where no launcher has set it
        (Accelerate would take it for a launcher's), and where each process sees its own GPU alone.
        """
        before, own = os.environ.get("LOCAL_RANK"), str(self.device.index or 0)
        if before is None or (self.device.type == "cuda" and before != own):
            self.lent.setdefault("LOCAL_RANK", before)
            os.environ["LOCAL_RANK"] = own

    def close(self) -> None:
        """Leave the process group, if it was started here, and restore torch's settings of before."""
        if self.owns_group and dist.is_initialized():
            dist.destroy_process_group()
        for name, before in self.lent.items():
            os.environ.pop(name, None)
            os.environ.update({} if before is None else {name: before})
        self.lent.clear()
        threads, torch.backends.cudnn.allow_tf32 = self._before
        torch.set_num_threads(threads)

    def _check_world(self) -> None:
        launched = int(os.environ.get("WORLD_SIZE", 1))
        if launched != self.world_size:
            raise UserError(
                f"the launcher started {launched} processes, but this one sees {self.world_size}, so "
                f"each would train alone; {HOW_TO_LAUNCH}"
            )
        # `accelerate launch --cpu --num_processes 2` starts one process, and leaves an address alone.
        variables = ("ACCELERATE_MIXED_PRECISION", "MASTER_ADDR")
        if "WORLD_SIZE" not in os.environ and all(name in os.environ for name in variables):
            raise UserError(
                f"accelerate launch was called with several processes, but started one; {HOW_TO_LAUNCH}"
            )


@contextmanager
def _explain_failed_rendezvous() -> Iterator[None]:
    """Name the address and the interface of a rendezvous that fails.

    Raises:
        LostProcess: this process does not reach the others.
        NcclFailure: see `_refuse_nccl_failure`.
    """
    try:
        yield
    except (RuntimeError, ConnectionError) as error:
        rank, world_size, address, port = (
            os.environ.get(name, "") for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
        )
        _refuse_nccl_failure(error, rank, world_size)
        if not _is_desertion(error):
            raise
        interface = os.environ.get(rendezvous.INTERFACE, "that of the host's own name")
        raise LostProcess(
            f"process {rank} of {world_size} did not meet the others (first process {address}:{port}, gloo's "
            f"interface {interface}); look whether another one ended before, and whether "
            f"{rendezvous.INTERFACE} names the interface that joins the machines"
        ) from error


def _refuse_contradictions(settings: config.Engine) -> None:
    asked = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")  # `no` is what a bare launch sets: silence
    if asked not in ("no", settings.precision):
        raise UserError(
            f"accelerate launch sets mixed_precision {asked}, but the config sets "
            f"engine.precision {settings.precision}; leave it out of the launch, since the config "
            "decides"
        )
    for flag, (idle, setting) in IDLE_FLAGS.items():
        value = _read_launch_flag(flag)
        if value not in (idle, ""):
            raise UserError(
                f"accelerate launch sets {flag} {value}, which does nothing here; leave it out of the "
                f"launch, and set {setting} in the config"
            )
    for variable, engine in OTHER_ENGINES.items():
        if os.environ.get(variable, "false").lower() in ("1", "true", "yes"):
            raise UserError(
                f"accelerate launch sets {engine}; leave it out of the launch, since the config decides"
            )


def _read_launch_flag(flag: str) -> str:
    """Return the value of a flag of `accelerate launch`: from its variable, or from its command line, since
    it passes some flags to no process that it starts; "" without one.
    """
    value = os.environ.get(f"ACCELERATE_{flag.removeprefix('--').upper()}", "").lower()
    try:
        words = (
            Path(f"/proc/{os.getppid()}/cmdline").read_text(encoding="utf-8", errors="replace").split("\0")
        )
    except OSError:
        return value
    launched = any(word.endswith(("launch", "launch.py")) for word in words)
    for word, following in pairwise([*words, ""]):
        name, equals, given = word.partition("=")
        if launched and name.replace("-", "_") == flag.replace("-", "_"):
            return (given if equals else following).lower()
    return value


def supports_fp16(device: torch.device) -> bool:
    """Return whether half-precision training makes sense there: on a CPU it is hundreds of times slower."""
    return device.type != "cpu"


def _refuse_fp16(settings: config.Engine, device: torch.device) -> None:
    if settings.precision == "fp16" and not supports_fp16(device):
        raise UserError(
            f"engine.precision=fp16 needs a GPU, but this process has a {device.type}; use "
            "engine.precision=bf16 (same memory) or engine.precision=fp32 (fastest there)"
        )


def _describe_loss(silent: list[int] | None, timeout: int) -> str:
    """Describe the loss of a process by silent ranks of the heartbeats: some, none, or None (no answer)."""
    if silent is None:  # the store is in rank 0, or in the launcher beside it
        return (
            f"lost process 0 or its machine {os.environ.get('MASTER_ADDR', '')}, which the others depend on"
        )
    if not silent:
        return f"waited {timeout} s for another process, which is alive but does not respond"
    ranks = ", ".join(map(str, silent))
    return (
        f"lost process{'es' if len(silent) > 1 else ''} {ranks}, which died or sent nothing for {timeout} s"
    )


def _is_desertion(error: Exception) -> bool:
    """Return whether another process is gone: torch has no type for it on every backend, gloo a message."""
    if isinstance(error, dist.DistError | ConnectionError):
        return True
    words = str(error).lower()
    signs = ("connection closed", "connection reset", "timed out waiting", "socket", "broken pipe", "gloo/")
    return any(sign in words for sign in signs)


def _refuse_nccl_failure(error: Exception, rank: int | str, world_size: int | str) -> None:
    """
    Raises:
        NcclFailure: NCCL failed though no process is gone: two share a GPU, /dev/shm is full, a driver is
            too old. To run the same command again would not help.
    """
    kind = re.search(r"nccl[A-Z]\w+", str(error))
    said = " ".join(str(error).partition("Last error:")[2].split()) or " ".join(str(error).split())
    if not isinstance(error, dist.DistError) or kind is None or kind[0] == "ncclRemoteError":
        return
    if not any(sign in said.lower() for sign in DESERTED):
        raise NcclFailure(
            f"process {rank} of {world_size}: NCCL, by which GPUs exchange tensors, failed ({kind[0]}: "
            f"{said[:300]}); set NCCL_DEBUG=INFO and run the same command again to see more"
        ) from error


def _describe_to_environment() -> None:
    """Write the existing process group to the environment variables that Accelerate reads."""
    os.environ["RANK"], os.environ["WORLD_SIZE"] = str(dist.get_rank()), str(dist.get_world_size())
    here = torch.cuda.current_device() if torch.cuda.is_available() else dist.get_rank()
    os.environ.setdefault("LOCAL_RANK", str(here))


def _choose_threads(wanted: int | None) -> int:
    """Return the threads of this process: the setting, OMP_NUM_THREADS, or its share of its cores."""
    if wanted:
        return wanted
    local = int(os.environ.get("LOCAL_WORLD_SIZE", os.environ.get("WORLD_SIZE", 1)))
    received = os.environ.get("OMP_NUM_THREADS", "")
    # torchrun sets 1 for several processes by itself, so that 1 is not the user's choice.
    if received.isdigit() and int(received) > 0 and (local == 1 or received != "1"):
        return int(received)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // local)
