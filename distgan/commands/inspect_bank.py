"""Summarise a bank: its statements, its quality, and a map of the latents behind it."""

from pathlib import Path

import numpy as np

from distgan.anonymity.bank import Bank
from distgan.anonymity.groups import Members
from distgan.anonymity.manifest import TENSORS, choose_strictest, find_violations
from distgan.anonymity.projection import Projection
from distgan.command_line import Result
from distgan.config.bounds import round_up
from distgan.evaluation.attacks import tracing
from distgan.evaluation.plots import population, style
from distgan.files import write_bytes
from distgan.pipeline.attack import load_tracing
from distgan.pipeline.build_bank import format_guarantee
from distgan.progress import format_count, format_exact
from distgan.run import Run

SHOWN = 12  # groups, smallest first


def is_bank(path: Path) -> bool:
    return (path / TENSORS).exists()


def run(path: Path) -> Result:
    """Describe a bank, and draw the map of its latents where the owner's private files are.

    Raises:
        Mismatch: the bank is damaged or contradicts its manifest.
    """
    bank = Bank.load(path)
    tree = {
        "groups": bank.num_groups,
        "sizes": [int(size) for size in bank.sizes],
        "effective": [float(members) for members in bank.effective],
        "minimum_group_size": bank.minimum_group_size,
        "condition_dim": bank.settings.condition_dim,
        "tracing_auc": [float(auc) for auc in bank.tracing_auc],
        "tracing_limit": bank.settings.max_tracing_auc,
        "attributes": [] if bank.statics is None else bank.statics.to_json(),
        "violations": find_violations(path, choose_strictest(bank.settings)),
        "privacy": None if bank.guarantee is None else format_guarantee(bank),
    }
    return Result(describe_bank(path), tree)


def describe_bank(path: Path) -> str:
    """Describe a bank.

    Raises:
        Mismatch: the bank is damaged or contradicts its manifest.
    """
    bank, settings = Bank.load(path), Bank.load(path).settings
    refused = find_violations(path, choose_strictest(settings))  # as distgan release does
    covered, plain = int(bank.sizes.sum()), bank.guarantee is None
    lines = [
        f"groups     {bank.num_groups} of {min(bank.sizes)} to {max(bank.sizes)} entities, "
        f"minimum group size {bank.minimum_group_size}",
        f"members    {covered}, an entity once in each of its groups"
        + (
            f"; one carries at most {round_up(100 * max(bank.largest_share), 0)} % of its group's load"
            if plain
            else ", counted with noise, of equal weight; no limit on the share of the load that one carries"
        ),
        f"condition  {format_count(settings.condition_dim, 'number')}, "
        f"{bank.released} released per group, location and scale included",
        f"inference  AUC at most {round_up(max(bank.tracing_auc), 3)} for a typical member by theory, "
        f"limit {settings.max_tracing_auc:g}",
        "release    " + (f"refused: {refused[0]}" if refused else "every statement of the manifest holds"),
    ]
    if bank.guarantee is not None:
        lines.append(f"privacy    {format_guarantee(bank)}")
    lines += describe_attributes(bank)
    order = np.argsort(bank.sizes, kind="stable")[:SHOWN]
    lines += ["", "group  entities  effective  largest share  inference bound"]
    lines += [
        f"{group:>5}  {bank.sizes[group]:>8}  {bank.effective[group]:>9}  {bank.largest_share[group]:>13.2f}"
        f"  {round_up(bank.tracing_auc[group], 3):>15}"
        for group in order
    ]
    if bank.num_groups > SHOWN:
        lines.append(f"       and {bank.num_groups - SHOWN} larger ones")
    return "\n".join([*lines, "", *describe_private_part(Run(path.absolute().parent), bank)])


def describe_attributes(bank: Bank) -> list[str]:
    """Return a line per attribute: its values with the groups that state them."""
    lines = []
    for place, column in enumerate(() if bank.statics is None else bank.statics.columns):
        assert bank.statics is not None
        stated = bank.statics.values[:, place]
        known = stated[~np.isnan(stated)]
        if column.is_number:
            ends = f"{format_exact(column.low)} to {format_exact(column.high)}"
            said = f"{ends}, stated by {format_count(len(known), 'group')}"
        else:
            counts = [f"{name} {int((known == code).sum())}" for code, name in enumerate(column.categories)]
            said = f"{', '.join(counts)} groups"
        lines.append(f"attribute  {column.name} ({column.kind}): {said}, unknown {len(stated) - len(known)}")
    return lines


def describe_private_part(run: Run, bank: Bank) -> list[str]:
    """Describe the attack as it was run and draw the map, where the owner's files lie beside the bank."""
    members, projection = run.cluster_files.members, run.cluster_files.projection
    if not (members.exists() and projection.exists()):
        return ["no map: the owner's private files are not in this folder"]
    attacks = load_tracing(run)
    held = Members.load(members)
    means = bank.conditions.astype(np.float64) * bank.scale + bank.centre
    explained = Projection.load(projection).explained
    place = run.bank_map
    picture = population.draw_latent_map(held.points, held.groups, means, explained=explained)
    write_bytes(place, style.render(picture), private=True)
    return [*tracing.format_lines(attacks), f"map        {place} (private: every dot is an entity's latent)"]
