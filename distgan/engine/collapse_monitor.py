"""Warnings about failures of a GAN that leave all numbers finite: mode collapse and a discriminator that
always wins.
"""

import logging
from collections.abc import Mapping

from distgan.progress import show_warning

log = logging.getLogger(__name__)

ALIKE = 0.05  # spread of generated series, as a share of the real ones' spread
DECIDED = 0.995  # share of pairs that the discriminator ranks correctly
PATIENCE = 3  # reports in a row


class CollapseMonitor:
    """Monitor that warns when all generated series are alike, or when the discriminator always wins.

    A warning comes after PATIENCE reports in a row that show it, once until a report does not.
    """

    def __init__(self, logs: bool = True) -> None:
        self.logs = logs
        self.rows = {"alike": 0, "decided": 0}

    def check(self, step: int, metrics: Mapping[str, float]) -> list[str]:
        """Check one report's means; return the warnings that are due."""
        found: dict[str, str] = {}
        for name, value in metrics.items():
            if name.endswith("/spread") and value < ALIKE:
                found["alike"] = (
                    f"step {step}: the generator has collapsed: its series vary only {value:.1%} as much as "
                    "real ones; lower train.generator_rate or raise objective.penalty.weight"
                )
            if name.endswith("/accuracy") and value > DECIDED:
                found["decided"] = (
                    f"step {step}: the discriminator classifies {value:.1%} of pairs correctly, so "
                    "the generator learns little; lower train.discriminator_rate or raise "
                    "objective.penalty.weight"
                )
        return [self._warn(found[kind]) for kind in self.rows if self._has_lasted(kind, kind in found)]

    def _has_lasted(self, kind: str, seen: bool) -> bool:
        self.rows[kind] = self.rows[kind] + 1 if seen else 0
        return self.rows[kind] == PATIENCE

    def _warn(self, words: str) -> str:
        if self.logs:
            log.warning(words)
            show_warning(words)
        return words
