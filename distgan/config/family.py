"""What the settings of every model family share: a name, and class variables that state its capabilities.

Code outside of a family's own file reads capabilities and never the name.
"""

from typing import Any, ClassVar, Literal

from distgan.config.base import Section, key

STAGES = ("prepare", "encoder", "encode", "cluster", "bank", "gan", "generate", "evaluate")
FILTER_STAGES = ("prepare", "gan")  # of a model that filters series and makes none
OwnLoss = Literal["none", "generator", "all"]
PrivateNetwork = Literal["discriminator", "generator"]


class Family(Section):
    """The settings of a model family (the section `model`).

    A subclass adds its own keys and overrides the class variables that differ. The module `implementation`
    has the networks and the game (`distgan.models`); by default it is the module of the subclass itself.
    """

    implementation: ClassVar[str] = ""
    """The module with `build`, and, where the family has them, `Game` and `join_sampler`."""
    kind: ClassVar[str] = "gan"
    """What a model card calls it: `gan`, `flow-matching`, `vae` or `baseline`."""
    stages: ClassVar[tuple[str, ...]] = STAGES
    """Its stages: all, or those of a filter, which learns from series labelled `clean` and all others."""
    fitted: ClassVar[bool] = False
    """The generator has a method `fit` and is fitted at once, without gradients and without a game."""
    recurrent: ClassVar[bool] = False
    """It computes in float32 step by step: ZeRO may not hold its weights in half precision."""
    whole_batch: ClassVar[bool] = False
    """An update looks at a whole batch, which `engine.micro_batch` may not cut."""
    own_loss: ClassVar[OwnLoss] = "none"
    """The losses that its game replaces: `generator` does not heed `objective.moments`, `features`, nor the
    mode-seeking term; `all` heeds neither `objective.loss` nor `objective.augment`, either.
    """
    needs_labels: ClassVar[bool] = False
    """It is conditional on labels (`bank.by_label`) or attributes (`bank.by`)."""
    any_length: ClassVar[bool] = False
    """No weight belongs to a step: trained networks make series of any length."""
    judges_series: ClassVar[bool] = True
    """`discriminator(series, condition)` gives logits; False where it takes something else than series."""
    stores_real_series: ClassVar[bool] = False
    """Real series stand among the generator's weights: it may never be released."""
    by_owners: ClassVar[bool] = False
    """Its `private_network` treats every series by itself and alike (no batch statistics, no dropout), and
    its game is the plain one or its module has an `OwnerGame`: gradients can be taken owner by owner
    (`privacy.end_to_end`).
    """
    private_network: ClassVar[PrivateNetwork] = "discriminator"
    """The network that learns from real series, and from noisy sums with `privacy.end_to_end`."""
    recomputes: ClassVar[bool] = False
    """It has blocks that `engine.checkpoint_activations` recomputes."""
    one_graph: ClassVar[bool] = False
    """Each network is one graph for torch.compile, and compiling it was measured: `engine.compile=auto`."""
    periods_key: ClassVar[str] = ""
    """The key with the periods, in steps, at which the discriminator folds series; whole days fit best."""

    name: str = key(..., "the model family")

    @classmethod
    def find_module_name(cls) -> str:
        """Return the module with the networks and the game; `implementation` is not inherited."""
        own: str = vars(cls).get("implementation", "")
        return own or cls.__module__

    @property
    def steps_before(self) -> int:
        """Training steps before the first adversarial one."""
        return 0

    @property
    def own_rates(self) -> dict[str, float]:
        """Learning rates of networks, by name, other than `train.generator_rate`."""
        return {}

    @property
    def filters(self) -> bool:
        """True where the model filters series and makes none."""
        return "generate" not in self.stages

    def describe(self) -> dict[str, Any]:
        """Return the part of the section in a run's identity."""
        return self.model_dump(mode="json")
