"""Differential privacy of the bank: mechanism (noise), contributions (who adds what), bank (sums), ledger
(spent).

Two databases are neighbours if one has one entity more, with all its series (add or remove). What is released
of the entities are integer sums with discrete Gaussian noise; everything computed from these is
post-processing.
"""

COVERED = (
    "Covered: the bank, i.e. every group's condition, size, location and scale, against whoever knows all "
    "other entities and has unlimited means. The noise is a discrete Gaussian on the integer grid of the "
    "sums."
)
NOT_COVERED = (
    "Not covered: the weights of encoder, discriminator and generator, and the synthetic series, which were "
    "made with real series at hand. Do not publish encoder or discriminator. The encoder and the scaler are "
    "taken as given: the guarantee holds for a database with one entity more or less under the same encoder "
    "and scaler."
)
