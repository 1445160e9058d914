"""One section per shipped model family, with its capabilities; networks and games are in `distgan/models/`.

The sections stand here and not beside their networks because a config is read before torch is imported.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self

from pydantic import field_validator, model_validator

from distgan.config.base import Section, check_heads, key
from distgan.config.baselines import BASELINES
from distgan.config.family import FILTER_STAGES, Family, OwnLoss, PrivateNetwork


def _check_scales(section: Any, width: int, scales: "Sequence[Scale]") -> Any:
    for scale in scales:
        check_heads(section, width, scale.heads)
    return section


class Scale(Section):
    ratio: int = key(..., "number of tokens pooled into one", ge=1)
    depth: int = key(..., "transformer blocks", ge=1)
    heads: int = key(4, "attention heads; divides width", ge=1)


class Refinement(Section):
    ratio: int = key(1, "finer tokens that a token is split into before it writes readings; 1 for none", ge=1)
    width: int = key(48, "features of a finer token", ge=4)
    depth: int = key(1, "blocks that mix neighbouring finer tokens", ge=0)
    noise_dim: int = key(8, "size of the noise of a finer token", ge=0)


class Generator(Section):
    width: int = key(128, "features per token", ge=4)
    noise_dim: int = key(64, "size of the noise of a series", ge=1)
    token_noise_dim: int = key(8, "size of the noise of each token", ge=0)
    token_noise_scales: tuple[float, ...] = key(
        (0.0,),
        "time scales, in tokens, over which the tokens' noise is smoothed, each for an equal part of "
        "token_noise_dim; 0 for independent noise",
        min_length=1,
    )
    noise_lags: tuple[int, ...] = key(
        (),
        "lags, in steps, of the cosine terms in the log spectrum of the readings' noise; none for "
        "independent noise",
    )
    soft_minimum: bool = key(
        False, "each series has a soft lower limit of its own, such as the base load of a home"
    )
    refinement: Refinement = key(Refinement(), "finer tokens, such as the days of a week")
    scales: tuple[Scale, ...] = key(
        (Scale(ratio=1, depth=2), Scale(ratio=2, depth=1), Scale(ratio=4, depth=1)),
        "branches: full, medium and small resolution",
        min_length=1,
    )

    @model_validator(mode="after")
    def _heads(self) -> "Generator":
        if min((*self.noise_lags, 1)) < 1:
            raise ValueError("a lag of noise_lags has 1 step or more")
        if min(self.token_noise_scales) < 0:
            raise ValueError("a scale of token_noise_scales is 0 or more")
        if self.token_noise_dim and len(self.token_noise_scales) > self.token_noise_dim:
            raise ValueError("token_noise_scales has more scales than token_noise_dim has numbers")
        return _check_scales(self, self.width, self.scales)


class Discriminator(Section):
    width: int = key(128, "features per token", ge=4)
    scales: tuple[Scale, ...] = key(
        (Scale(ratio=1, depth=3), Scale(ratio=4, depth=1)), "branches: local and global", min_length=1
    )
    periods: tuple[int, ...] = key((24, 168), "periods in steps at which side discriminators fold the series")
    spectra: tuple[int, ...] = key(
        (64, 256), "window lengths in steps of the spectrograms of side discriminators"
    )
    side_channels: int = key(16, "channels of the side discriminators", ge=1)
    picture_positions: bool = key(
        False,
        "side discriminators of pictures have learned embeddings of rows and columns, and see the condition",
    )
    random_kernels: int = key(
        0,
        "fixed convolution kernels of each dilation, from one step to an eighth of the series, in a summary "
        "that one more side discriminator sees; 0 for none",
        ge=0,
        le=84,
    )

    @model_validator(mode="after")
    def _heads(self) -> "Discriminator":
        if min((*self.periods, 2)) < 2 or min((*self.spectra, 4)) < 4:
            raise ValueError("a period has 2 steps or more, and a window of spectra 4")
        return _check_scales(self, self.width, self.scales)


class MultiscaleNetworks(Family):
    """The settings of multi-scale networks, for the families that have them."""

    patch: int = key(24, "steps per token", ge=1)
    generator: Generator = key(Generator(), "from noise and condition to series")
    discriminator: Discriminator = key(Discriminator(), "from series and condition to logits")

    def describe(self) -> dict[str, Any]:
        """Return the settings that networks depend on: those without effect are left out, so runs of before
        them stay valid.
        """
        tree = super().describe()
        generator = tree["generator"]
        if self.generator.refinement.ratio == 1:
            del generator["refinement"]
        if not any(self.generator.token_noise_scales):
            del generator["token_noise_scales"]
        if not self.discriminator.picture_positions:
            del tree["discriminator"]["picture_positions"]
        if not self.discriminator.random_kernels:
            del tree["discriminator"]["random_kernels"]
        return tree

    @model_validator(mode="after")
    def _whole_steps(self) -> Self:
        ratio = self.generator.refinement.ratio
        if self.patch % ratio:
            raise ValueError(
                f"patch {self.patch} is not a multiple of generator.refinement.ratio {ratio}; choose a patch "
                "that is, or generator.refinement.ratio=1"
            )
        return self


class Multiscale(MultiscaleNetworks):
    implementation: ClassVar[str] = "distgan.models.multiscale"
    one_graph: ClassVar[bool] = True
    by_owners: ClassVar[bool] = True
    recomputes: ClassVar[bool] = True
    periods_key: ClassVar[str] = "discriminator.periods"

    name: Literal["multiscale"] = key("multiscale", "the multi-scale conditional transformer GAN")


class Upsampler(Section):
    factor: int = key(4, "steps of the series that a coarse step becomes", ge=2)
    width: int = key(64, "features per coarse step", ge=4)
    depth: int = key(8, "blocks of one dilated convolution", ge=1)
    periods: tuple[int, ...] = key(
        (6, 42),
        "periods in coarse steps, such as a day and a week: every second block reaches from one to the next, "
        "and each place in them has an embedding",
    )
    window: int = key(504, "coarse steps of each series that a training step shows; 0 for all", ge=0)
    rate: float = key(2e-3, "learning rate; it falls as train.burn_in_steps says", gt=0)
    solver_steps: int = key(8, "steps of Heun's method, two passes of the network each", ge=1)

    @field_validator("periods")
    @classmethod
    def _some_steps(cls, periods: tuple[int, ...]) -> tuple[int, ...]:
        if min((*periods, 1)) < 1:
            raise ValueError("a period has 1 coarse step or more")
        return periods


class Cascade(MultiscaleNetworks):
    implementation: ClassVar[str] = "distgan.models.cascade"
    judges_series: ClassVar[bool] = False
    recomputes: ClassVar[bool] = True

    name: Literal["cascade"] = key(
        "cascade", "multi-scale GAN of coarse steps, whose tokens, lags and periods count these; then a flow"
    )
    upsampler: Upsampler = key(Upsampler(), "from coarse steps to series")

    @property
    def own_rates(self) -> dict[str, float]:
        return {"upsampler": self.upsampler.rate}


class TtsGanFork(Family):
    implementation: ClassVar[str] = "distgan.models.tts_gan_fork"

    name: Literal["tts_gan_fork"] = key("tts_gan_fork", "the upstream TTS-GAN fork, at any length and patch")
    patch: int = key(15, "steps per token of the discriminator", ge=1)
    noise_dim: int = key(100, "size of the noise", ge=1)
    width: int = key(10, "features per step of the generator", ge=1)
    depth: int = key(3, "blocks of each branch", ge=1)
    heads: int = key(
        5,
        "attention heads of the medium branch; the full branch has twice, the small branch half as many",
        ge=1,
    )
    dropout: float = key(0.5, "dropout of the generator's blocks", ge=0, lt=1)
    small_weight: float = key(0.1, "weight of the branch pooled by 4", ge=0)
    medium_weight: float = key(0.2, "weight of the branch pooled by 2", ge=0)
    discriminator_width: int = key(50, "features per token of the discriminator", ge=1)
    discriminator_depth: int = key(
        3, "blocks of the discriminator's global branch; the local one has half", ge=1
    )
    discriminator_dropout: float = key(0.1, "dropout of the discriminator's blocks", ge=0, lt=1)

    @model_validator(mode="after")
    def _heads(self) -> "TtsGanFork":
        check_heads(self, self.width, 2 * self.heads)
        return check_heads(self, self.discriminator_width, self.heads)


class MlpGan(Family):
    implementation: ClassVar[str] = "distgan.models.mlp_gan"
    by_owners: ClassVar[bool] = True

    name: Literal["mlp_gan"] = key("mlp_gan", "the plain GAN of two small perceptrons")
    noise_dim: int = key(64, "size of the noise", ge=1)
    width: int = key(256, "hidden units of the generator", ge=1)
    discriminator_width: int = key(128, "hidden units of the discriminator", ge=1)


class TtsGan(Family):
    implementation: ClassVar[str] = "distgan.models.tts_gan"

    name: Literal["tts_gan"] = key("tts_gan", "the transformer GAN of TTS-GAN")
    patch: int = key(15, "steps per token of the discriminator", ge=1)
    noise_dim: int = key(100, "size of the noise", ge=1)
    width: int = key(10, "features per step of the generator", ge=1)
    depth: int = key(3, "blocks of the generator", ge=1)
    heads: int = key(5, "attention heads of both networks; divides both widths", ge=1)
    dropout: float = key(0.5, "dropout of the generator's blocks", ge=0, lt=1)
    discriminator_width: int = key(50, "features per token of the discriminator", ge=1)
    discriminator_depth: int = key(3, "blocks of the discriminator", ge=1)
    discriminator_dropout: float = key(0.5, "dropout of the discriminator's blocks", ge=0, lt=1)
    attention_dropout: float = key(
        0.5,
        "dropout of the attention weights of both networks; above 0 the whole L x L matrix is held in memory",
        ge=0,
        lt=1,
    )

    @model_validator(mode="after")
    def _heads(self) -> "TtsGan":
        check_heads(self, self.width, self.heads)
        return check_heads(self, self.discriminator_width, self.heads)


class TtsCgan(TtsGan):
    implementation: ClassVar[str] = "distgan.models.tts_cgan"
    needs_labels: ClassVar[bool] = True

    name: Literal["tts_cgan"] = key(  # type: ignore[assignment]
        "tts_cgan", "the conditional transformer GAN of TTS-CGAN; needs bank.by_label or bank.by"
    )
    label_width: int = key(
        10, "size of the embedding of the label, or of the attributes, beside the noise", ge=1
    )
    class_weight: float = key(
        1.0, "weight of the auxiliary loss of the label or the attributes, in both losses", ge=0
    )


class TimeGan(Family):
    implementation: ClassVar[str] = "distgan.models.timegan"
    recurrent: ClassVar[bool] = True
    whole_batch: ClassVar[bool] = True
    own_loss: ClassVar[OwnLoss] = "all"
    any_length: ClassVar[bool] = True
    judges_series: ClassVar[bool] = False  # but latents

    name: Literal["timegan"] = key("timegan", "the recurrent GAN in the latent space of an autoencoder")
    cell: Literal["gru", "lstm"] = key("gru", "recurrent cell of all five networks")
    width: int = key(24, "hidden units, and size of a step's latent", ge=1)
    layers: int = key(3, "recurrent layers; the supervisor has one less", ge=2)
    noise_channels: int | None = key(
        None, "size of the uniform noise of each step; by default the number of channels", ge=1
    )
    embedding_steps: int = key(2000, "steps of training the autoencoder alone", ge=0)
    supervised_steps: int = key(2000, "steps of training the supervisor alone", ge=0)
    gamma: float = key(
        1.0, "weight of the discriminator's output on latents that the supervisor did not process", ge=0
    )
    supervised_weight: float = key(100.0, "weight of the supervised term in the generator's loss", ge=0)
    moment_weight: float = key(
        100.0, "weight of the distance of means and standard deviations in the generator's loss", ge=0
    )
    discriminator_threshold: float = key(
        0.15, "the discriminator is not updated while its loss is at most this", ge=0
    )

    @property
    def steps_before(self) -> int:
        return self.embedding_steps + self.supervised_steps


class CrnnGan(Family):
    implementation: ClassVar[str] = "distgan.models.crnn_gan"
    recurrent: ClassVar[bool] = True
    whole_batch: ClassVar[bool] = True
    own_loss: ClassVar[OwnLoss] = "generator"
    any_length: ClassVar[bool] = True

    name: Literal["crnn_gan"] = key("crnn_gan", "the LSTM GAN of C-RNN-GAN")
    width: int = key(350, "units of each LSTM layer", ge=1)
    layers: int = key(2, "LSTM layers of each network", ge=1)
    noise_channels: int | None = key(
        None, "size of the uniform noise of each step; by default the number of channels", ge=1
    )
    dropout: float = key(0.5, "dropout between LSTM layers and before the output layer", ge=0, lt=1)
    pretraining_steps: int = key(200, "first steps, in which the generator is trained by squared error", ge=0)
    feature_matching: bool = key(
        True,
        "the generator minimises the distance of the discriminator's features instead of an adversarial loss",
    )
    freeze_below: float = key(
        0.7,
        "a network is not updated while its cross entropy is below this share of the other's; 0 for never",
        ge=0,
        lt=1,
    )

    @property
    def steps_before(self) -> int:
        return self.pretraining_steps


class NrGan(Family):
    implementation: ClassVar[str] = "distgan.models.nr_gan"
    stages: ClassVar[tuple[str, ...]] = FILTER_STAGES
    own_loss: ClassVar[OwnLoss] = "all"

    name: Literal["nr_gan"] = key(
        "nr_gan",
        "the denoiser of NR-GAN: series labelled `clean`, all others noisy; it generates "
        "no series from noise",
    )
    frame: int = key(512, "steps of a frame that is filtered as a whole; neighbours overlap by half", ge=8)
    width: int = key(8, "channels of the two convolutions over frequencies", ge=1)
    kernel: int = key(5, "kernel size of the convolutions, in frequencies", ge=1)
    content_weight: float = key(
        0.2,
        "weight of the mean absolute G(y) - y, which keeps a filtered series close to the noisy one",
        ge=0,
    )
    identity_weight: float = key(
        1.0, "weight of the mean absolute G(x) - x, which leaves clean series unchanged", ge=0
    )
    recombined_weight: float = key(
        10.0,
        "weight of the mean absolute G(x + n) - x with n = y - G(y), noise removed from another series",
        ge=0,
    )


class RectifiedFlow(Family):
    implementation: ClassVar[str] = "distgan.models.rectified_flow"
    kind: ClassVar[str] = "flow-matching"
    own_loss: ClassVar[OwnLoss] = "all"
    by_owners: ClassVar[bool] = True
    private_network: ClassVar[PrivateNetwork] = "generator"
    recomputes: ClassVar[bool] = True

    name: Literal["rectified_flow"] = key(
        "rectified_flow", "rectified flow (flow matching) by a transformer; it has no discriminator"
    )
    patch: int = key(24, "steps per token", ge=1)
    width: int = key(128, "features per token", ge=4)
    depth: int = key(4, "transformer blocks", ge=1)
    heads: int = key(4, "attention heads; divides width", ge=1)
    solver: Literal["euler", "heun"] = key(
        "heun", "solver of the differential equation; heun passes the network twice a step"
    )
    solver_steps: int = key(20, "steps of the solver from noise to series", ge=1)
    draws: int = key(
        1,
        "pairs of a time and a noise that each series of a training step is seen at; with "
        "privacy.end_to_end more of them make an owner's gradient less random, and spend nothing",
        ge=1,
    )

    def describe(self) -> dict[str, Any]:
        """Return the settings that networks depend on: one draw is left out, so runs of before stay valid."""
        tree = super().describe()
        if self.draws == 1:
            del tree["draws"]
        return tree

    @model_validator(mode="after")
    def _heads(self) -> "RectifiedFlow":
        return check_heads(self, self.width, self.heads)


class Season(Section):
    count: int = key(..., "seasons of a cycle, such as the 7 days of a week", ge=2)
    steps: int = key(1, "steps of a season", ge=1)


class TimeVae(Family):
    implementation: ClassVar[str] = "distgan.models.timevae"
    kind: ClassVar[str] = "vae"
    own_loss: ClassVar[OwnLoss] = "all"
    by_owners: ClassVar[bool] = True
    private_network: ClassVar[PrivateNetwork] = "generator"

    name: Literal["timevae"] = key("timevae", "the convolutional VAE of TimeVAE; it has no discriminator")
    latent_dim: int = key(8, "numbers of the latent", ge=1)
    widths: tuple[int, ...] = key(
        (50, 100, 200), "channels of the convolutions, each of which halves the steps", min_length=1
    )
    trend_degree: int = key(0, "degree of the polynomial of the trend; 0 for none", ge=0)
    seasons: tuple[Season, ...] = key((), "cycles of seasons, each with a value of its own")
    reconstruction_weight: float = key(3.0, "weight of the squared errors beside the divergence", gt=0)

    @field_validator("widths")
    @classmethod
    def _some_channels(cls, widths: tuple[int, ...]) -> tuple[int, ...]:
        if min(widths) < 1:
            raise ValueError("a convolution has 1 channel or more")
        return widths


DEFAULT = "multiscale"
SHIPPED: tuple[type[Family], ...] = (
    Multiscale,
    Cascade,
    TtsGanFork,
    MlpGan,
    TtsGan,
    TtsCgan,
    TimeGan,
    CrnnGan,
    NrGan,
    RectifiedFlow,
    TimeVae,
    *BASELINES,
)
FAMILIES = {section.model_fields["name"].default: section for section in SHIPPED}
