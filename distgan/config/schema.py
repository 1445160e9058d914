"""The whole tree of settings, and what a run's stages depend on."""

import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any

import yaml
from pydantic import model_validator

from distgan.config.anonymity import Bank, Clusters, Encoder, Privacy, Release
from distgan.config.base import Section, key, merge_sections, nest_key
from distgan.config.data import Data
from distgan.config.end_to_end import list_planned, refuse_uncovered
from distgan.config.families import DEFAULT, FAMILIES
from distgan.config.family import STAGES
from distgan.config.registry import Model
from distgan.config.sweep import Sweep
from distgan.config.training import Engine, Evaluate, Generate, Objective, Train
from distgan.config.validation import validate_tree
from distgan.config.validation_errors import explain_unknown
from distgan.errors import UserError
from distgan.files import check_path

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
# Keys on which nothing depends that a run learns.
FREE = {
    "train": LENGTHS,
    "data": ("credit", "accept", "processes", "holidays"),
}
# The sections that a stage's result depends on, besides those of the stages before it.
DEPENDS = {
    "prepare": ("seed", "data"),
    "encoder": ("encoder",),
    "cluster": ("clusters", "bank", "privacy"),
    "gan": ("model", "objective", "train"),
}


def is_fixed(name: str) -> bool:
    """Return whether what a run learns depends on this dotted key: it may be searched, and not change in a
    run.
    """
    depended = {section for sections in DEPENDS.values() for section in sections}
    section, _, rest = name.partition(".")
    return section in depended and rest not in FREE.get(section, ())


class Config(Section):
    seed: int = key(0, "random seed of weights, splits, order and noise of training", ge=0, lt=2**63)
    run_dir: str = key("runs/default", "run folder; the same folder and config resume")
    data: Data = key(Data(), "source, reading, splits and scaling")
    encoder: Encoder = key(Encoder(), "the VAE that embeds series")
    clusters: Clusters = key(Clusters(), "k-means on the latents")
    bank: Bank = key(Bank(), "groups and their conditions")
    privacy: Privacy = key(Privacy(), "differential privacy of the bank, or of the whole run")
    model: Model = key(FAMILIES[DEFAULT](), "generator and discriminator, by family name")
    objective: Objective = key(Objective(), "the losses")
    train: Train = key(Train(), "the GAN's training")
    engine: Engine = key(Engine(), "precision and devices; may change when a run resumes")
    generate: Generate = key(Generate(), "generation of synthetic series")
    evaluate: Evaluate = key(Evaluate(), "the report")
    release: Release = key(Release(), "the gate of `distgan release`; no stage depends on it")
    sweep: Sweep = key(Sweep(), "hyperparameter search; used by `distgan sweep` only")

    @classmethod
    def from_tree(cls, tree: Any, where: str = "config") -> "Config":
        """Return the settings of a tree of plain values; keys that are left out have their defaults.

        Raises:
            UserError: a key, a value or a combination is wrong.
        """
        settings = validate_tree(cls, tree, where)
        settings._check_paths()
        return settings

    @model_validator(mode="after")
    def _check_together(self) -> "Config":
        """Refuse sections that exclude each other; the first rule that fails is reported."""
        self._check_condition()
        self._check_series()
        if self.privacy.epsilon is not None:
            self._check_private()
        if self.privacy.end_to_end:
            refuse_uncovered(self)
        self._check_engine()
        self._check_labels()
        self._check_game()
        self._check_penalty()
        self._check_steps()
        if self.train.select.score is not None:
            self._check_selection()
        self._check_space()
        return self

    def _check_condition(self) -> None:
        """Refuse a condition with more dimensions than the latents that it is projected from."""
        if self.bank.condition_dim > self.encoder.latent_dim:
            raise ValueError(
                f"bank.condition_dim {self.bank.condition_dim} is above encoder.latent_dim "
                f"{self.encoder.latent_dim}; use {self.encoder.latent_dim} or less"
            )

    def _check_series(self) -> None:
        """Refuse zeros, whitening and lengths of series that the model or the windows cannot have."""
        if self.data.zeros == "match" and "generate" not in self.stages:
            raise ValueError(f"data.zeros=match is for generated series; model {self.model.name} makes none")
        if self.data.scaling.whitening and self.model.filters:
            raise ValueError(
                f"model {self.model.name} filters series of any length, and data.scaling.whitening is of one "
                "length; set data.scaling.whitening=0"
            )
        if self.generate.lengths == "as_real" and self.data.windows.length is not None:
            raise ValueError(
                "generate.lengths=as_real is for whole series, and data.windows.length cuts windows; use "
                "generate.lengths=whole"
            )

    def _check_labels(self) -> None:
        """Refuse a conditional model without labels or attributes."""
        if self.model.needs_labels and not (self.bank.by_label or self.bank.by):
            raise ValueError(
                f"model {self.model.name} is conditional on labels or attributes; set bank.by_label=true, or "
                "bank.by to attributes"
            )

    def _check_penalty(self) -> None:
        """Refuse a Wasserstein loss without a gradient penalty."""
        if self.objective.loss.startswith("wgangp") and self.objective.penalty.kind == "none":
            raise ValueError(
                f"objective.loss {self.objective.loss} needs objective.penalty.kind other than none"
            )

    def _check_steps(self) -> None:
        """Refuse fewer steps than the model trains before its adversarial ones."""
        before = self.model.steps_before
        if before >= self.train.steps:
            keys = [f"model.{name}" for name in type(self.model).model_fields if name.endswith("_steps")]
            lower = f" or lower {' or '.join(keys)}" if keys else ""
            raise ValueError(
                f"train.steps {self.train.steps} leaves no adversarial step after the {before} that "
                f"{self.model.name} trains before; raise train.steps{lower}"
            )

    @property
    def of_whole_batches(self) -> bool:
        """Some rule of the losses looks at a whole batch before an update, which then cannot be in parts."""
        return self.model.whole_batch or bool(self.objective.batch_terms)

    def _check_game(self) -> None:
        """Refuse settings of objectives that the family's own game ignores."""
        name, objective, own = self.model.name, self.objective, self.model.own_loss
        if own == "all" and objective.loss != Objective().loss:
            raise ValueError(f"model {name} has losses of its own; leave objective.loss out")
        if own == "all" and objective.augment.on:
            raise ValueError(f"model {name} does not augment; leave objective.augment out")
        if own != "none" and objective.batch_terms:
            term = objective.batch_terms[0]
            raise ValueError(f"model {name} has a generator's loss of its own; leave {term} out")
        if own == "generator" and objective.loss == "wgangp-mode":
            raise ValueError(f"model {name} has no mode-seeking term; use objective.loss=wgangp")

    def _check_selection(self) -> None:
        """Refuse a choice of the best step where there are no steps, no series to score, or no owners."""
        if self.model.fitted or "generate" not in self.stages:
            why = "is fitted at once" if self.model.fitted else "generates no series that could be scored"
            raise ValueError(f"train.select: model {self.model.name} {why}; set train.select.score=null")
        steps, every = self.train.steps, self.train.select.every
        if steps % every:
            raise ValueError(
                f"train.steps {steps} is not a multiple of train.select.every {every}, so its last steps "
                f"could not be chosen; use train.steps={-(-steps // every) * every} or train.select.every="
                f"{max(n for n in range(1, min(every, steps) + 1) if steps % n == 0)}"
            )
        if not self.data.validation:
            raise ValueError(
                "train.select scores against validation owners, and data.validation is 0; set "
                f"data.validation, e.g. data.validation={self.data.splits.train / 7:.2g}"
            )

    def _check_space(self) -> None:
        """Check that every searched key is one, and takes all that may be drawn for it."""
        space = self.sweep.space
        before = set(self.flatten()) - set(space)
        for name, dimension in space.items():
            for other in dimension.when:
                if other not in before:
                    late = (
                        f"{other!r}, which stands after it"
                        if other in space
                        else explain_unknown(other, before)
                    )
                    raise ValueError(f"sweep.space.{name}: `when` asks for {late}")
            before.add(name)
            base = {other: values[0] for other, values in dimension.when.items()}
            for value in dimension.way[1]:
                self.with_values({**base, name: value}, where="sweep.space")
            if not is_fixed(name):
                raise ValueError(
                    f"sweep.space: {name} is not what a run learns from or by; it cannot be searched"
                )

    def with_values(self, values: Mapping[str, Any], where: str = "trial") -> "Config":
        """Return these settings, with other values for some dotted keys and nothing to search.

        Raises:
            UserError: a key, a value or a combination is wrong.
        """
        tree = self.model_dump(mode="json")
        del tree["sweep"]
        for name in sorted(values, key=lambda name: name != "model.name"):  # its section replaces the base's
            tree = merge_sections(tree, nest_key(name, values[name]))
        return self.from_tree(tree, where)

    def _check_paths(self) -> None:
        """
        Raises:
            UserError: a path of the settings is empty, or none that a file system takes.
        """
        _check_folder(self.run_dir, "run_dir")
        if "://" not in self.data.source:
            check_path(self.data.source, "data.source")
        for name, path in {
            "data.attributes": self.data.attributes,
            "generate.table": self.generate.table,
        }.items():
            if path is not None:
                check_path(path, name)
        if self.engine.offload.path is not None:
            _check_folder(str(self.engine.offload.path), "engine.offload.path")

    def _check_recurrent(self) -> None:
        """Refuse settings that layers with float32 weights do not support."""
        name, engine = self.model.name, self.engine
        halved = engine.precision != "fp32" and (engine.zero or engine.discriminator_zero)
        if self.model.recurrent and halved:
            raise ValueError(
                f"model {name} computes in float32, and engine.zero above 0 holds weights in "
                f"{engine.precision}; use engine.zero=0 or engine.precision=fp32"
            )

    def _check_engine(self) -> None:
        """Refuse combinations of engine settings that are not supported, before anything is loaded."""
        self._check_recurrent()
        engine, kind = self.engine, self.objective.penalty.kind
        both = {
            engine.zero,
            discriminator := engine.zero if engine.discriminator_zero is None else engine.discriminator_zero,
        }
        if kind in ("exact", "interpolated") and discriminator == 3 and not engine.gather_penalty:
            raise ValueError(
                f"objective.penalty.kind {kind} differentiates the discriminator twice, which engine.zero 3 "
                "cannot; use engine.discriminator_zero=2, engine.gather_penalty=true or finite_difference"
            )
        if kind in ("exact", "interpolated") and discriminator == 3 and engine.checkpoint_activations:
            raise ValueError(
                f"objective.penalty.kind {kind}, engine.zero 3 of the discriminator and "
                "engine.checkpoint_activations exclude each other; use engine.discriminator_zero=2"
            )
        if kind in ("exact", "interpolated") and engine.compile is True:
            raise ValueError(
                f"objective.penalty.kind {kind} differentiates twice, which engine.compile cannot; "
                "use kind finite_difference or engine.compile=false"
            )
        if engine.compile is True and both != {0}:
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

    def _check_private(self) -> None:
        """Refuse settings that read the data outside of the accounted releases."""
        refused = {
            "clusters.count auto": self.clusters.count == "auto",
            "clusters.spherical true": self.clusters.spherical,
            f"bank.training {self.bank.training}": self.bank.training != "mean",
            "bank.by_label true": self.bank.by_label,
            "data.zeros match": self.data.zeros == "match",
            "generate.lengths as_real": self.generate.lengths == "as_real",
        }
        for name, true in refused.items():
            if true:
                raise ValueError(
                    f"{name} is not accounted under privacy.epsilon; use its default, or a number for "
                    "clusters.count"
                )

        listed = self.privacy.categories
        for name in self.bank.by:
            if name not in listed:
                raise ValueError(
                    f"privacy.epsilon needs the values of attribute {name!r} beforehand, since those in the "
                    f"data are private; set privacy.categories={{{name}: [VALUE, …]}}"
                )
        for name in listed:
            if name not in self.bank.by:
                raise ValueError(f"privacy.categories lists {name!r}, which bank.by does not name")

    @property
    def stages(self) -> tuple[str, ...]:
        """Those that the model has, in order."""
        return self.model.stages

    @property
    def identities(self) -> dict[str, str]:
        """Hash, for each stage, of all settings that its result depends on; lengths, credit, engine and
        outputs are left out.
        """
        tree = self.model_dump(mode="json")
        for section, free in FREE.items():
            tree[section] = {name: value for name, value in tree[section].items() if name not in free}
        if not tree["data"]["validation"]:  # without effect: runs of before these settings stay valid
            del tree["data"]["validation"]
        tree["privacy"] = self.privacy.describe()
        if tree["data"]["zeros"] == "auto":
            del tree["data"]["zeros"]
        if not self.data.axis.is_given:
            del tree["data"]["axis"]
        if tree["data"]["bounds"]["step"] is None:
            del tree["data"]["bounds"]["step"]
        for name, off in (("scope", "series"), ("marginal", "none"), ("whitening", 0)):
            if tree["data"]["scaling"][name] == off:
                del tree["data"]["scaling"][name]
        if tree["train"]["select"]["score"] is None:
            del tree["train"]["select"]
        tree["model"] = self.model.describe()
        identity, chain = "", {}
        for stage in STAGES:
            own = {section: tree[section] for section in DEPENDS.get(stage, ())}
            if stage == "encoder" and self.privacy.end_to_end:
                own["planned"] = list_planned(self)
            identity = hashlib.sha256(json.dumps([identity, own], sort_keys=True).encode()).hexdigest()[:16]
            chain[stage] = identity
        return chain

    @property
    def identity(self) -> str:
        """Hash of what a run *is*: data, networks, losses, rates."""
        return self.identities["gan"]

    def flatten(self) -> dict[str, Any]:
        """Return every key with its value: {"train.steps": 1000, ...}."""
        return _flatten(self.model_dump(mode="json"))

    def to_yaml(self) -> str:
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, width=100)


def _check_folder(text: str, name: str) -> None:
    """
    Raises:
        UserError: no file system takes the path of a folder that is written, or it would be one called ~.
    """
    check_path(text, name)
    if text.split("/")[0] == "~" and not os.path.lexists(text):
        home = os.path.expanduser("~")
        raise UserError(
            f"{name} {text[:80]}: ~ is not read as the home folder here; write {home}{text[1:80]}"
        )


def _flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for name, value in tree.items():
        leaves.update(
            _flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
        )
    return leaves
