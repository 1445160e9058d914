"""The privacy spending of a run that is private end to end, computed from its settings before anything is
spent.
"""

from typing import Any

from distgan import config
from distgan.anonymity.dp.accounting import Plan, find_steps, make_plan

TITLES = {
    "encoder": "encoder, DP-SGD",
    "bank": "bank, two sums",
    "discriminator": "discriminator, DP-SGD",
    "generator": "generator, DP-SGD",
}

STEPS_WITHOUT = (
    "Time and memory of a step are planned without the gradients by owner and the noise, which add to both."
)


def plan_privacy(settings: config.Config) -> Plan | None:
    """Return the division of the budget; None for a run that is not private end to end.

    Raises:
        UserError: no noise keeps to the budget, or dp-accounting is not installed.
    """
    return make_plan(settings) if settings.privacy.end_to_end else None


def format_privacy(plan: Plan) -> str:
    """Return a table of the parts: sampling rate, steps, noise and ε of each, and of all together."""
    alone = plan.spend_alone()
    lines = [
        f"Differential privacy end to end: epsilon {plan.total:.4g} of {plan.epsilon:g} at delta "
        f"{plan.delta:g}, for every owner with all its series",
        f"{'part':<22}{'rate':>9}{'steps':>9}{'noise':>9}{'epsilon alone':>15}",
    ]
    for name, part in plan.parts.items():
        lines.append(
            f"{TITLES[name]:<22}{part.rate:>9.4g}{part.steps:>9,}{part.multiplier:>9.3g}{alone[name]:>15.3g}"
        )
    return "\n".join([*lines, format_more_steps(plan), STEPS_WITHOUT])


def format_more_steps(plan: Plan) -> str:
    """Describe what other noise would buy: steps of the network at its part of the budget."""
    part, epsilon = plan.parts[plan.network], plan.spend_alone()[plan.network]
    bought = {
        factor: find_steps(part.rate, factor * part.multiplier, epsilon, plan.delta)
        for factor in (0.75, 1.5, 2)
    }
    text = ", ".join(f"{factor * part.multiplier:.3g}: {steps:,}" for factor, steps in bought.items())
    return f"Steps of the {plan.network} that its part buys at other noise: {text}"


def make_privacy_tree(plan: Plan) -> dict[str, Any]:
    """Return the same, ready for JSON."""
    alone = plan.spend_alone()
    return {
        "epsilon": plan.total,
        "budget": plan.epsilon,
        "delta": plan.delta,
        "parts": {name: {**vars(part), "epsilon_alone": alone[name]} for name, part in plan.parts.items()},
    }
