"""Numbers that change over training, as functions of the step alone."""

import math


def anneal_cosine(step: int, steps: int, start: float, end: float) -> float:
    """Return the value that goes from `start` at step 0 to `end` at `steps` along half a cosine, then `end`.
    `steps` 0 is `end` throughout.
    """
    if step >= steps:
        return end
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * step / steps))
