"""Differential privacy of the bank: noise, what an entity contributes, the sums, the ledger of what is spent.

Two databases are neighbours if one has one entity more, with all its series (add or remove). What is released
of the entities are integer sums with discrete Gaussian noise; everything computed from these is
post-processing.

What the databases of this definition share is taken as given (`TAKEN_AS_GIVEN`): encoder, scaler and the time
axis of the source, which are made from all series. A refusal (a split without owners, series that cannot be
used) depends on the data and is seen by their owner alone.
"""

from distgan import config
from distgan.anonymity.dp.mechanism import UNIT

COVERED = (
    "Covered: the bank, i.e. every group's condition, size, location and scale, against whoever knows all "
    "other entities and has unlimited means. The noise is discrete Gaussian, on the integer grid of the sums."
)
NOT_COVERED = (
    "Not covered: the weights of encoder, discriminator and generator, and the synthetic series, which were "
    "made with real series at hand, and that the release was allowed, since the attacks were run on real "
    "series. Do not publish encoder or discriminator."
)
TAKEN_AS_GIVEN = (
    "Taken as given: the scaler and the encoder, both fitted to all training series, and the time axis and "
    "channels of the source. The guarantee compares two databases under the same scaler, encoder and axis; "
    "what these themselves tell of an entity is not counted in epsilon."
)


def state_constants(privacy: config.Privacy, radius: float) -> str:
    """List the public constants of the guarantee: settings, none of them read off the data."""
    (least, most), (smallest, largest) = privacy.asinh_ratio_range, privacy.log_rms_range
    return (
        "Public constants, from the settings and not from the data: latents are clipped at length "
        f"{radius:.6g}, asinh(location / scale) to {least:g} .. {most:g}, log rms to {smallest:g} .. "
        f"{largest:g}; sums are whole multiples of 1 / {UNIT} of these lengths; {privacy.directions_share:g} "
        "of the budget is spent on directions."
    )
