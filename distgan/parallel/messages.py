"""Messages between processes besides tensors: JSON and errors of known kinds, never pickles, which could run
code of an intruder.
"""

import hashlib
import hmac
import json
import os
import secrets
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from distgan import errors
from distgan.errors import UserError

TOKEN = "DISTGAN_TOKEN"  # environment variable: a secret that all processes of a launch are given
KINDS = {
    kind.__name__: kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, UserError)
}


def pack(content: Any) -> bytes:
    """Return JSON of `content`; tuples become lists, numpy numbers plain ones, and NaN stays.

    Raises:
        TypeError: it is not made of numbers, texts, lists and mappings.
    """
    return json.dumps(content, default=_to_plain).encode("utf-8")


def _to_plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be sent to another process as JSON")


def pack_error(error: Exception) -> list[str]:
    """Return an error in a form that another process can raise: errors of distgan keep their class, others
    their text.
    """
    if isinstance(error, UserError):
        kinds = [kind.__name__ for kind in type(error).__mro__ if kind.__name__ in KINDS]
        return [kinds[0], str(error)]
    return ["RuntimeError", f"rank 0 failed: {type(error).__name__}: {error}"]


def unpack_error(packed: list[str]) -> Exception:
    """Return the error that `pack_error` described."""
    kind, text = packed
    return KINDS[kind](text) if kind in KINDS else RuntimeError(text)


def broadcast(content: Any, is_main: bool, group: Any) -> Any:
    """Return rank 0's `content` on every rank: its length, then its bytes."""
    raw = pack(content) if is_main else b""
    return json.loads(broadcast_bytes(raw, group))


def broadcast_bytes(raw: bytes, group: Any) -> bytes:
    """Return rank 0's bytes on every rank; the others give none."""
    length = torch.tensor(len(raw))
    dist.broadcast(length, src=0, group=group)
    message = torch.empty(int(length), dtype=torch.uint8)
    if raw:
        message = torch.frombuffer(bytearray(raw), dtype=torch.uint8)
    if length:
        dist.broadcast(message, src=0, group=group)
    return message.numpy().tobytes()


def agree_on_token(group: Any) -> bytes:
    """Return the secret that signs messages in the store, to which anybody who reaches its port can write. It
    is DISTGAN_TOKEN of the environment, or drawn by rank 0 and sent over the processes' own connections: it
    never lies in the store.

    Raises:
        UserError: not all processes have the same DISTGAN_TOKEN.
    """
    own = os.environ.get(TOKEN, "").encode("utf-8", "surrogateescape")
    drawn = secrets.token_bytes(32) if dist.get_rank() == 0 else b""
    sent = broadcast_bytes(drawn, group)  # the secret, or what to prove the token on
    proof = hmac.new(own, sent + str(dist.get_rank()).encode(), hashlib.sha256).digest()
    proofs = [torch.empty(len(proof), dtype=torch.uint8) for _ in range(dist.get_world_size())]
    dist.all_gather(proofs, torch.frombuffer(bytearray(proof), dtype=torch.uint8), group=group)
    for rank, found in enumerate(proofs):
        wanted = hmac.new(own, sent + str(rank).encode(), hashlib.sha256).digest()
        if not hmac.compare_digest(found.numpy().tobytes(), wanted):
            raise UserError(
                f"process {rank} has another {TOKEN} than process {dist.get_rank()}; give all "
                "processes of a launch the same value, or none"
            )
    return hashlib.sha256(own + sent).digest() if own else sent
