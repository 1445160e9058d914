"""Losses: pure functions, float32, each with its equation. Gradient penalties are in `penalties`.

Shapes: B series, H heads of the discriminator, L steps, C channels, K condition. `real` and `fake` are logits
(B, H).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

Discriminator = Callable[[Tensor, Tensor], Tensor]
Across = Callable[[Tensor], Tensor]  # the mean over processes


def identity(value: Tensor) -> Tensor:
    """Return the value: the mean over processes, where there is one."""
    return value


def average_masked(x: Tensor, mask: Tensor, count: Tensor | None = None) -> Tensor:
    """Return the mean of x where mask is 1; with `count`, the mean number of measured values over processes,
    its part of a global mean: the mean of the parts is the mean over all processes' values.
    """
    return (x * mask).sum() / (mask.sum() if count is None else count).clamp(min=1e-6)


def apply_to_global_means(function: Callable[[Tensor], Tensor], means: Tensor, across: Across) -> Tensor:
    """Return f(m) for the mean m of `means` over processes, where f is curved (a root, a distance): a scalar.

    The gradient goes through f's slope at m, so that the mean of the processes' gradients is the gradient of
    the global loss; a root of each process's own mean would give another.
    """
    everywhere = across(means.detach()).clone().requires_grad_()
    with torch.enable_grad():
        value = function(everywhere)
        (slope,) = torch.autograd.grad(value, everywhere)
    return value.detach() + (slope * (means - everywhere.detach())).sum()


# Each loss: what the discriminator and what the generator minimises.


def relativistic_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """Return E softplus(-(D(x) - D(G(z)))), pairs of one condition (Jolicoeur-Martineau 2019; R3GAN)."""
    return F.softplus(fake - real).mean()


def relativistic_generator(real: Tensor, fake: Tensor) -> Tensor:
    """Return E softplus(-(D(G(z)) - D(x)))."""
    return F.softplus(real - fake).mean()


def hinge_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """Return E max(0, 1 - D(x)) + E max(0, 1 + D(G(z)))."""
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def minus_fake(real: Tensor, fake: Tensor) -> Tensor:
    """Return -E D(G(z)): the generator's side of hinge and Wasserstein."""
    return -fake.mean()


def standard_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """Return the binary cross entropy with soft labels .9 for real and .1 for generated (TTS-GAN)."""
    return _compute_cross_entropy(real, 0.9) + _compute_cross_entropy(fake, 0.1)


def standard_generator(real: Tensor, fake: Tensor) -> Tensor:
    """Return the binary cross entropy of the generated with label 1 (TTS-GAN)."""
    return _compute_cross_entropy(fake, 1.0)


def _compute_cross_entropy(logits: Tensor, label: float) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))


def lsgan_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """Return ½ [E (D(x) - 1)² + E D(G(z))²] (Mao et al. 2017)."""
    return 0.5 * ((real - 1).square().mean() + fake.square().mean())


def lsgan_generator(real: Tensor, fake: Tensor) -> Tensor:
    """Return E (D(G(z)) - 1)²."""
    return (fake - 1).square().mean()


def nonsaturating_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """Return E softplus(-D(x)) + E softplus(D(G(z))) (Goodfellow et al. 2014)."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def nonsaturating_generator(real: Tensor, fake: Tensor) -> Tensor:
    """Return E softplus(-D(G(z)))."""
    return F.softplus(-fake).mean()


def wasserstein_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """Return E D(G(z)) - E D(x) (Arjovsky et al. 2017); needs a penalty."""
    return fake.mean() - real.mean()


def wasserstein_eps_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """Return E D(G(z)) - E D(x) + 10⁻³ E[D(x)²], Wasserstein with a drift term (Karras et al. 2018).

    TTS-GAN's code has 10⁻³ (E D(x))² of a process's part of the batch. A mean over series is the same for any
    number of processes.
    """
    return wasserstein_discriminator(real, fake) + 1e-3 * real.square().mean()


@dataclass(frozen=True)
class Loss:
    """Both sides of a game: functions of the logits of real and of generated series.

    Attributes:
        compares: the generator's side depends on the real logits, too.
        seeks_modes: the generator's loss adds `compute_mode_seeking`.
    """

    discriminator: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor, Tensor], Tensor]
    compares: bool = False
    seeks_modes: bool = False


LOSSES = {
    "relativistic": Loss(relativistic_discriminator, relativistic_generator, compares=True),
    "hinge": Loss(hinge_discriminator, minus_fake),
    "standard": Loss(standard_discriminator, standard_generator),
    "lsgan": Loss(lsgan_discriminator, lsgan_generator),
    "nonsaturating": Loss(nonsaturating_discriminator, nonsaturating_generator),
    "wgangp": Loss(wasserstein_discriminator, minus_fake),
    "wgangp-mode": Loss(wasserstein_discriminator, minus_fake, seeks_modes=True),
    "wgangp-eps": Loss(wasserstein_eps_discriminator, minus_fake),
}


def compute_mode_seeking(
    fake_1: Tensor,
    fake_2: Tensor,
    noise_1: Tensor,
    noise_2: Tensor,
    across: Across = identity,
) -> Tensor:
    """Return 1 / (E|G(z₁) - G(z₂)| / E|z₁ - z₂| + 10⁻⁵): large when unlike noise gives like series (Mao et
    al. 2019). `across` averages over processes.
    """
    distances = torch.stack([(fake_1 - fake_2).abs().mean(), (noise_1 - noise_2).abs().mean()])
    return apply_to_global_means(lambda means: 1 / (means[0] / means[1] + 1e-5), distances, across)


def compute_moment_distance(
    fake_BLC: Tensor,
    real_BLC: Tensor,
    mask: Tensor,
    across: Across = identity,
) -> Tensor:
    """Return E|σ̂ - σ| + E|μ̂ - μ| over steps and channels, of the batch, on the scale of [0, 1] (TimeGAN's
    code).

    A discriminator of bounded slope is nearly blind to deviations that are a third too small; this term is
    not.
    """
    counts_LC = across(mask.sum(0)).clamp(min=1e-6)  # a mean over processes: it may be below 1
    scaled = [(x.float() + 1) / 2 * mask for x in (fake_BLC, real_BLC)]
    means = torch.stack([x.pow(power).sum(0) / counts_LC for x in scaled for power in (1, 2)])

    def measure_distance(means_4LC: Tensor) -> Tensor:
        (mean_f, deviation_f), (mean_r, deviation_r) = map(_compute_deviations, means_4LC.split(2))
        return (deviation_f - deviation_r).abs().mean() + (mean_f - mean_r).abs().mean()

    return apply_to_global_means(measure_distance, means, across)


def _compute_deviations(means_2LC: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and deviation from the means of x and x²: (2, L, C) -> two of (L, C)."""
    mean, square = means_2LC
    return mean, (square - mean.square()).clamp(min=0).add(1e-6).sqrt()


def compute_evidence_lower_bound(
    series_BLC: Tensor,
    mask_BLC: Tensor,
    reconstruction_BLC: Tensor,
    mean_BZ: Tensor,
    logvar_BZ: Tensor,
    *,
    beta: float,
    free_bits: float,
    count: Tensor | None = None,
    across: Across = identity,
) -> dict[str, Tensor]:
    """Return the negative evidence lower bound per step, with the Gaussian's width at its optimum (σ-VAE,
    Rybkin et al. 2021).

    loss = ½ ln MSE + β / n · Σ_z max(KL_z, free bits), KL_z = ½ (μ² + σ² - 1 - ln σ²) averaged over the
    batch, n the measured values of a series, on average. With the width optimal the two terms weigh as in the
    bound, whatever the units. All terms are float32 scalars. Logarithm and maximum are taken of means over
    the global batch (`across` averages over processes), so that the mean of the processes' gradients is the
    gradient of the global loss; micro-batches take their own, a little off the large batch's. `count` is the
    mean number of measured values of this part of a batch, over processes, if not all are here.
    """
    error = (reconstruction_BLC.float() - series_BLC.float()).square()
    count = across(mask_BLC.sum()) if count is None else count
    mse = average_masked(error, mask_BLC, count)
    mean, logvar = mean_BZ.float(), logvar_BZ.float()
    kl_Z = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean(0)
    global_mse, global_kl_Z = across(mse.detach()) + 1e-8, across(kl_Z.detach())
    half_log_mse = 0.5 * (global_mse.log() + mse / global_mse - 1)  # value and gradient of ½ ln MSE
    divergence = torch.where(global_kl_Z > free_bits, kl_Z, free_bits).sum()
    return {"loss": half_log_mse + beta * len(mean) / count * divergence, "mse": mse, "kl": kl_Z.sum()}
