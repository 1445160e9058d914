"""catch22: 22 features of a time series, chosen to distinguish classes (Lubba et al. 2019), by `pycatch22`.

Each series is standardised, as the package does; a gap is filled with the series' mean. A set is compared
with real series by the Kolmogorov-Smirnov distance of each feature over series, and the mean of these.
"""

from importlib.util import find_spec

import numpy as np

from distgan.errors import UserError
from distgan.evaluation.metrics.descriptors import Array

PACKAGE = "pycatch22"


def is_installed() -> bool:
    return find_spec(PACKAGE) is not None


def measure_catch22(values: Array) -> Array:
    """Compute all features, [n, L] -> [n, 22].

    Raises:
        UserError: pycatch22 is not installed.
    """
    if not is_installed():
        raise UserError(f"catch22 needs {PACKAGE}; pip install '.[catch22]'")
    import pycatch22

    found = []
    for series in np.asarray(values, np.float64):
        filled = np.where(np.isnan(series), np.nanmean(series), series)
        spread = filled.std()
        standard = (filled - filled.mean()) / (spread if spread > 0 else 1.0)
        found.append(pycatch22.catch22_all(standard.tolist())["values"])
    return np.array(found).reshape(len(values), 22)


def compare_features(real: Array, made: Array) -> Array:
    """Return the Kolmogorov-Smirnov distance of each feature over series: [n, Q], [m, Q] -> [Q], 0 to 1."""
    distances = []
    for one, two in zip(real.T, made.T):
        places = np.concatenate([one, two])
        shares = [np.searchsorted(np.sort(side), places, "right") / len(side) for side in (one, two)]
        distances.append(np.abs(shares[0] - shares[1]).max())
    return np.array(distances)
