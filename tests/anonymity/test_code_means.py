"""Means of rows by code."""

import numpy as np
import pytest

from distgan.anonymity.code_means import average_by_code


@pytest.mark.parametrize("shape", [(40,), (40, 3)])
def test_every_code_has_the_mean_of_its_own_rows(shape):
    rng = np.random.default_rng(0)
    values, codes = rng.normal(size=shape), np.concatenate([np.arange(5), rng.integers(0, 5, 35)])
    expected = [values[codes == code].mean(axis=0) for code in range(5)]
    np.testing.assert_allclose(average_by_code(values, codes), expected)


@pytest.mark.parametrize("shape", [(0,), (0, 3)])
def test_no_rows_have_no_means(shape):
    assert average_by_code(np.empty(shape), np.empty(0, int)).shape == shape
