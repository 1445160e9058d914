"""Differential privacy of the bank: noise, contributions of an entity, sums, and the ledger of spending.

Two databases are neighbours if one has one entity more, with all its series (add or remove). What is released
of the entities are integer sums with discrete Gaussian noise; everything computed from these is
post-processing.

What the databases of this definition share is taken as given (`state_given`): encoder and scaler, which are
made from all series, and the time axis of the source, unless `data.axis` gives it. A refusal (a split without
owners, series that cannot be used) depends on the data and is seen by their owner alone.
"""

from distgan import config
from distgan.anonymity.dp.mechanism import UNIT

COVERED = (
    "Covered: the bank, i.e. every group's condition, size, location and scale, against whoever knows all "
    "other entities and has unlimited means. The noise is discrete Gaussian, on the integer grid of the sums."
)
NOT_COVERED = (
    "Not covered: the weights of all networks, and the synthetic series, which were made with real series at "
    "hand, and that the release was allowed, since the attacks were run on real series. Do not publish the "
    "encoder or a discriminator."
)


NOT_COVERED_RUN = (
    "Not covered: that the release was allowed, since the attacks were run on real series; a choice of "
    "settings after a look at these real series, at losses or at a report of them, e.g. that of another run; "
    "and another training on the same people, whose epsilon adds to this one's."
)


NOTHING = (
    "Nothing is promised: the noise can be repeated (privacy.insecure_seed), which is for tests. Whoever "
    "knows the seed can take it away."
)


def state_covered_run(settings: config.Config) -> str:
    """Return what is covered in a run that is private end to end, and how."""
    trained = settings.model.private_network
    weights, rest = "encoder and generator", ""
    if trained != "generator":
        weights, rest = f"encoder, {trained} and generator", " The generator read no real series."
    return (
        f"Covered: the synthetic series, the weights of {weights}, and the bank, all together, against "
        f"whoever knows all other owners. Encoder and {trained} were trained on sums of clipped gradients, "
        "one an owner, with discrete Gaussian noise on the integer grid of the sums; each step took every "
        "owner by a coin of its own. Their coins and noise came from secret keys of 256 bits, drawn from the "
        f"operating system and removed since.{rest}"
    )


def state_given(settings: config.Config) -> str:
    """Return what the guarantee takes as given. A time axis that `data.axis` gives is a public constant
    instead.
    """
    found = "" if settings.data.axis.is_given else "time axis and "
    same = "" if settings.data.axis.is_given else "axis"
    if settings.privacy.end_to_end:
        under = f" The guarantee compares two databases under the same {same}." if same else ""
        return (
            f"Taken as given: the {found}channels of the source, and which readings were left out as "
            f"unusable.{under}"
        )
    under = "scaler, encoder and axis" if same else "scaler and encoder"
    return (
        "Taken as given: the scaler and the encoder, both fitted to all training series, and the "
        f"{found}channels of the source. The guarantee compares two databases under the same {under}; what "
        "these themselves tell of an entity is not counted in epsilon."
    )


def state_axis(axis: config.TimeAxis) -> str:
    """Return the given time axis as a public constant, with a blank before it; "" where it is found."""
    if not axis.is_given:
        return ""
    return (
        f" The time axis, too, was given and not found in the data: {axis.length:,} steps of {axis.step} "
        f"from {axis.start} (data.axis); readings outside of it were left out."
    )


def state_proof(privacy: config.Privacy) -> str:
    """Return a sentence on what is proved of a run that is private end to end, and for whom."""
    return (
        f"({privacy.epsilon:g}, {privacy.delta:g})-differentially private for every owner with all its "
        "series, added or removed"
    )


def state_run_constants(settings: config.Config) -> str:
    """List the public constants of trainings with noise: settings, none of them read off the data."""
    privacy, scaling = settings.privacy, settings.data.scaling
    assert privacy.owners is not None
    bound = f", data.scaling.bound {scaling.bound:g}" if scaling.method == "standard" else ""
    unit = f", data.scaling.unit {scaling.unit:g}" if scaling.transform == "log1p" else ""
    begun = (
        ""
        if privacy.public is None
        else (" They began with the weights of another run, on data that privacy.public calls public.")
    )
    return (
        f"Public constants of the trainings, from the settings and not from the data: {privacy.owners} "
        f"for the number of owners, sampling rates {settings.encoder.batch_size / privacy.owners:.3g} and "
        f"{settings.train.batch_size / privacy.owners:.3g}, {settings.encoder.steps} and "
        f"{settings.train.steps} steps, gradients clipped at length "
        f"{privacy.gradient_clip:g}{bound}{unit}.{begun}"
    )


def list_claims(settings: config.Config, radius: float) -> list[str]:
    """List what is promised of a private bank, or of a run that is private end to end, and what is not."""
    if settings.privacy.insecure_seed is not None:
        return [NOTHING]
    constants = state_constants(settings.privacy, radius) + state_axis(settings.data.axis)
    given = state_given(settings)
    if not settings.privacy.end_to_end:
        return [COVERED, constants, given, NOT_COVERED]
    proof, covered = state_proof(settings.privacy), state_covered_run(settings)
    trained = state_run_constants(settings)
    return [f"Proved: the synthetic series are {proof}.", covered, constants, trained, given, NOT_COVERED_RUN]


def state_constants(privacy: config.Privacy, radius: float) -> str:
    """List the public constants of the guarantee: settings, none of them read off the data."""
    (least, most), (smallest, largest) = privacy.asinh_ratio_range, privacy.log_rms_range
    listed = [f"{name} {', '.join(values)}" for name, values in privacy.categories.items()]
    attributes = f"; attributes may have the values {'; '.join(listed)}" if listed else ""
    return (
        "Public constants, from the settings and not from the data: latents are clipped at length "
        f"{radius:.6g}, asinh(location / scale) to {least:g} .. {most:g}, log rms to {smallest:g} .. "
        f"{largest:g}{attributes}; sums are whole multiples of 1 / {UNIT} of these lengths; "
        f"{privacy.directions_share:g} of the bank's budget is spent on directions."
    )
