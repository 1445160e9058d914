"""TTS-CGAN (Li et al. 2022): TTS-GAN that makes series of a label asked for, or with attributes asked for.

    noise, embedding of the label ─ the generator of TTS-GAN ─ series
    series ─ the discriminator of TTS-GAN ─ mean ─┬─ logit
                                                  └─ a logit for each label

As in the published code: the embedded label is joined to the noise, and an auxiliary head predicts the label.
Kept from TTS-GAN here: learned positions in the generator, which the source leaves out, and the tanh at its
end. The source plays WGAN-GP (configs/tts_cgan_paper.yaml), ours any game. The label is the last part of the
condition, 1 at its place and 0 elsewhere; the rest is not read. Attributes (`bank.by`) stand there as
`anonymity/statics.py` encodes them: one-hot categories and standardised numbers, then 1 for each that is
known. The auxiliary head then predicts each category by a softmax of its own and each number by its value;
what is unknown has no loss.

Shapes: B series, L steps, C channels, E width, Z noise, K condition, M labels, or numbers of attributes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from distgan import config
from distgan.errors import UserError
from distgan.models import tts_gan
from distgan.models.layers import Linear, select_label
from distgan.models.tts_gan_fork import LayerNorm
from distgan.objectives.adversarial import Adversarial


class Generator(nn.Module):
    """(B, Z), (B, K) -> (B, L, C) in [-1, 1]."""

    def __init__(self, length: int, channels: int, labels: int, settings: config.TtsCgan) -> None:
        super().__init__()
        self.noise_dim, self.labels = settings.noise_dim, labels
        self.embedding = nn.Parameter(torch.randn(labels, settings.label_width))
        both = settings.model_copy(update={"noise_dim": settings.noise_dim + settings.label_width})
        self.body = tts_gan.Generator(length, channels, both)

    def forward(self, noise_BZ: Tensor, condition_BK: Tensor) -> Tensor:
        label_BM = select_label(condition_BK, self.labels).to(noise_BZ.dtype)
        embedded_BE = label_BM @ self.embedding.to(noise_BZ.dtype)
        series_BLC: Tensor = self.body(torch.cat([noise_BZ, embedded_BE], dim=1), condition_BK)
        return series_BLC


class Discriminator(tts_gan.Discriminator):
    """(B, L, C) -> logits (B, 1); `classify` gives logits of labels, (B, M)."""

    def __init__(self, length: int, channels: int, labels: int, settings: config.TtsCgan) -> None:
        super().__init__(length, channels, settings)
        self.labels = labels
        self.label = nn.Sequential(
            LayerNorm(settings.discriminator_width), Linear(settings.discriminator_width, labels)
        )

    def classify(self, series_BLC: Tensor) -> Tensor:
        """Return logits of labels, or predictions of attributes, float32: (B, L, C) -> (B, M)."""
        return self.label(self.compute_features(series_BLC)).float()


def build(
    settings: config.TtsCgan, length: int, channels: int, condition_dim: int, labels: int = 0
) -> dict[str, nn.Module]:
    """Return the generator and the discriminator for series of `length` steps.

    Raises:
        UserError: there are no labels or attributes.
    """
    if not labels:
        raise UserError(
            "model tts_cgan needs labels (array `label` of an NPZ, bank.by_label) or attributes (bank.by), "
            "and there are none; set one of them, or choose another model"
        )
    return {
        "generator": Generator(length, channels, labels, settings),
        "discriminator": Discriminator(length, channels, labels, settings),
    }


class Game(Adversarial):
    """The plain game, and beside it a cross entropy of labels.

    discriminator  its loss + w E -ln p(label | x) of real series
    generator      its loss + w E -ln p(label | G(z, label)) of generated ones

    Of attributes it is the sum over those known: -ln p of a category, half the squared error of a number.
    """

    def compute_extra_losses(self, series_BLC: Tensor, condition_BK: Tensor) -> dict[str, Tensor]:
        discriminator = self.networks["discriminator"]
        logits_BM = discriminator.classify(series_BLC.to(self.dtype))
        label_BM = select_label(condition_BK, discriminator.labels)
        surprise_B = compute_surprise(logits_BM, label_BM.float(), self.attributes)
        return {"label": self.family.class_weight * surprise_B.mean()}


def compute_surprise(
    logits_BM: Tensor, label_BM: Tensor, attributes: Sequence[tuple[int, bool]] = ()
) -> Tensor:
    """Return -ln p(label) of each series, or the sum over its known attributes: (B, M) twice -> (B,).

    Args:
        attributes: of each, the numbers it has in the label, and whether it is a number.
    """
    blocks = attributes or ((label_BM.shape[1], False),)
    parts, first = [], 0
    for place, (width, is_number) in enumerate(blocks):
        block = slice(first, first + width)
        first += width
        logits, label = logits_BM[:, block], label_BM[:, block]
        if is_number:
            known_B = label_BM[:, label_BM.shape[1] - len(blocks) + place]
            parts.append(0.5 * known_B * (logits - label).square().sum(1))
        else:  # an unknown category has no 1
            parts.append(-(label * logits.log_softmax(1)).sum(1))
    return torch.stack(parts).sum(0)
