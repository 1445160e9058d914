"""Differential privacy of the bank: noise, what an entity contributes, the sums, the ledger of what is spent.

Two databases are neighbours if one has one entity more, with all its series (add or remove). What is released
of the entities are integer sums with discrete Gaussian noise; everything computed from these is
post-processing.

What the databases of this definition share is taken as given: encoder, scaler and the time axis of the
source, which are made from all series. A refusal (a split without owners, series that cannot be used) depends
on the data and is seen by their owner alone.
"""

COVERED = (
    "Covered: the bank, i.e. every group's condition, size, location and scale, against whoever knows all "
    "other entities and has unlimited means. The noise is discrete Gaussian, on the integer grid of the sums."
)
NOT_COVERED = (
    "Not covered: the weights of encoder, discriminator and generator, and the synthetic series, which were "
    "made with real series at hand, and the verdict, whose attacks were run on real series. Do not publish "
    "encoder or discriminator. Encoder, scaler and time axis are taken as given: the guarantee holds for a "
    "database with one entity more or less under the same ones."
)
