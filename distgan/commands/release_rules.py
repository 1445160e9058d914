"""The rules of a release that no setting lifts: limits of the bank, and enough people behind what is learned.

Where the config has laxer limits than the default ones, the default ones count.
"""

from dataclasses import dataclass

from distgan import config, models
from distgan.anonymity import manifest
from distgan.anonymity.bank import Bank
from distgan.anonymity.group_size import compute_minimum_group_size
from distgan.evaluation.results import CheckResult
from distgan.pipeline.owners import count_training_owners
from distgan.pipeline.train_gan import load_generator
from distgan.run import Run


@dataclass(frozen=True)
class Check:
    """A check, the reason why it fails ("" if it passes), and what was verified, a line each."""

    name: str
    broken: str
    exit_code: int
    verified: tuple[str, ...] = ()

    def to_result(self) -> CheckResult:
        return CheckResult(
            name=self.name, holds=not self.broken, text=self.broken, verified=list(self.verified)
        )


def check_rules(settings: config.Config, run: Run) -> list[Check]:
    """Check the rules that no setting lifts."""
    bank = Bank.load(run.bank)
    violations = manifest.find_violations(run.bank, manifest.choose_strictest(bank.settings))
    storing = settings.model.stores_real_series
    return [
        Check("the bank's aggregation", violations[0] if violations else "", 3),
        Check(
            "a generator without real series",
            f"model {settings.model.name} keeps real series among its weights" if storing else "",
            3,
        ),
        Check("owners behind each mean", check_owners(bank), 3),
        Check("owners behind each part of the generator", check_parts(settings, run, bank), 3),
        Check("owners behind each number of the scaling", check_scaling(settings, run), 3),
    ]


def check_owners(bank: Bank) -> str:
    """Check the owners behind each mean: where entities are several series of one owner, a mean of enough
    entities may be of few people. Under differential privacy no owner has several.
    """
    if bank.guarantee is not None:
        return ""
    if not bank.owners:
        return "the bank does not record owners; remove the folder bank and run the same command again"
    limits = [bank.settings, manifest.choose_strictest(bank.settings)]
    fewest = min(bank.owners)
    minimum_size = max(compute_minimum_group_size(each, bank.released) for each in limits if each is not None)
    return (
        f"a mean covers {fewest} effective owners, below the minimum of {minimum_size}"
        if fewest < minimum_size
        else ""
    )


def check_parts(settings: config.Config, run: Run, bank: Bank) -> str:
    """Check the owners behind each part of a generator that keeps means of clusters or Gaussians, principal
    directions or quantiles of its own: a cluster of one is a real series, and a direction of four is nearly
    one. An owner counts once, in however many of the bank's groups.
    """
    if settings.model.stores_real_series:
        return ""  # refused by its own rule
    share = models.find_smallest_share(load_generator(settings, run))
    owners = min(count_training_owners(run), sum(bank.owners or bank.sizes))
    fewest, minimum_size = share * owners, config.Bank().min_members
    return (
        ""
        if share >= 1 or fewest >= minimum_size
        else f"model {settings.model.name} keeps numbers of {fewest:.1f} owners among its weights, below the "
        f"minimum of {minimum_size}; choose fewer of its {_name_parts(settings)}"
    )


def _name_parts(settings: config.Config) -> str:
    """Return the settings of a generator's parts in words, all where it has none of those that are known."""
    known = ("clusters", "mixtures", "components", "levels")
    return " or ".join(name for name in known if hasattr(settings.model, name)) or "clusters or mixtures"


def check_scaling(settings: config.Config, run: Run) -> str:
    """Check the owners behind the ends that the scaler has learned, at which generated series are cut off:
    `prepare` learns them with the bank.min_members of then.
    """
    if not settings.data.scaling.learns_ends:
        return ""
    least = config.Bank().min_members
    known = (run.read_record("prepare") or {}).get("least_owners", settings.bank.min_members)
    return (
        f"the scaling ends at values that {known} owners reach, below the minimum of {least} "
        f"(bank.min_members); train in another run_dir with bank.min_members={least} or more"
        if known < least
        else ""
    )
