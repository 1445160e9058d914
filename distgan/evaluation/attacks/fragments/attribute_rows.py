"""The search for members' rows in the released table of attributes.

Numbers of the table are drawn from groups, or repeat `generate.table` as written there. Rows of real people
in that table are members' rows far more often than non-members'; rows that were drawn are not.
"""

import numpy as np

from distgan.evaluation.attacks.attack_data import AttackData
from distgan.evaluation.attacks.fragments.evidence import SearchResult


def find_attribute_rows(attack_data: AttackData) -> list[SearchResult]:
    """Return how many owners of either side alone have a row of the release; nothing without a table."""
    described = attack_data.described
    if described is None:
        return []
    members, others = attack_data.members, attack_data.non_members
    owners = np.concatenate([members.owners, others.owners + members.num_owners])
    is_member = np.arange(len(owners)) < len(members.owners)
    rows, place = np.unique(np.concatenate([described.members, described.non_members]), return_inverse=True)
    holders = np.bincount(np.unique(np.stack([place, owners]), axis=1)[0], minlength=len(rows))
    hit = (np.isin(rows, described.released) & (holders == 1))[place]
    found = [len(np.unique(owners[hit & side])) for side in (is_member, ~is_member)]
    return [SearchResult("attributes", "row", (found[0], found[1]))]
