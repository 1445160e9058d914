"""What TTS-CGAN's networks minimise: the plain game, and beside it a cross entropy of labels.

discriminator  its loss + w E -ln p(label | x) of real series
generator      its loss + w E -ln p(label | G(z, label)) of generated ones
"""

from torch import Tensor

from distgan.models.layers import label_of
from distgan.objectives.adversarial import Adversarial


class LabelGAN(Adversarial):
    def beside(self, series_BLC: Tensor, condition_BK: Tensor) -> dict[str, Tensor]:
        critic = self.networks["discriminator"]
        logits_BM = critic.classes(series_BLC.to(self.dtype))
        label_BM = label_of(condition_BK, critic.labels)
        entropy_B = -(label_BM.float() * logits_BM.log_softmax(1)).sum(1)
        return {"label": self.family.class_weight * entropy_B.mean()}
