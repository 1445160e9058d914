"""The minimum group size, and the larger size that clustering aims for."""

import pytest

from distgan.anonymity import group_size


@pytest.mark.parametrize(
    ("entities", "target"), [(20, 27), (140, 27), (432, 27), (864, 54), (1296, 81), (1_000_000, 81)]
)
def test_groups_have_a_margin_where_sixteen_are_left(entities: int, target: int) -> None:
    assert group_size.compute_target_group_size(27, entities) == target
    said = group_size.describe_margin(27, entities)
    assert ("may be refused for membership inference (P6); 1296 entities" in said) == (target < 81)
