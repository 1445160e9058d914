"""A phase, which is one kind of update, and the objective, which lists the phases of a training."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn


@dataclass(frozen=True)
class Phase:
    """One optimiser update: `loss(batch)` is minimised over the network named `network`.

    `loss` gives scalars on the batch's device: "loss" is minimised, the others are shown. All are means over
    this process's part of the batch, or sums divided by the mean of a count over processes (`across`). The
    phase is due at steps start, start + every, start + 2 every, … below `stop`. With `gradient`, the update
    takes the gradient that this returns, by name of weight, and not that of `loss`; it returns scalars to
    show, too. `skip` decides by the scalars' global means whether this update is left out; all processes
    decide alike, and a resumed run decides as an uninterrupted one.
    """

    name: str
    network: str
    loss: Callable[[Any], Mapping[str, Tensor]]
    every: int = 1
    start: int = 0
    stop: int | None = None
    skip: Callable[[Mapping[str, float]], bool] | None = None
    gradient: Callable[[Any], tuple[Mapping[str, Tensor], Mapping[str, Tensor]]] | None = None

    def is_due(self, step: int) -> bool:
        """Return whether step `step`, counted from 0, has this phase."""
        within = self.start <= step and (self.stop is None or step < self.stop)
        return within and (step - self.start) % self.every == 0


class Objective(Protocol):
    """The losses of one family: functions of networks and batches, independent of ranks, devices and
    optimizers.
    """

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """Networks that the losses call, by name."""

    @property
    def phases(self) -> Sequence[Phase]:
        """The updates of one step, in order. In a phase only its own network requires gradients."""

    @property
    def averaged(self) -> Sequence[str]:
        """Networks of which a moving average of the weights is kept, and used for sampling."""
