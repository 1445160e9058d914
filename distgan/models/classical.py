"""The baselines that a sceptic tries first: fitted without gradients, sampled like every other family.

    pca_gmm       principal components, and a Gaussian mixture of their scores
    gaussian      the mean curve, and Gaussian noise with the spectrum of what is left, channels jointly
    bootstrap     each piece of time from a real series drawn at random
    cluster_mean  the mean of a few real series of one cluster

Each turns standard normal noise into a series, so that they are seeded, generated and reported as the trained
ones; all are unconditional. `bootstrap` and `cluster_mean` keep the real training series among their weights:
floors to be printed beside a model, never to be given away.

Shapes: N training series, B series, L steps, C channels, F frequencies, P components, M mixtures, Z noise.
"""

import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture
from torch import Tensor, nn

from distgan import config
from distgan.models.recurrent import uniform


class Fitted(nn.Module, ABC):
    """A generator whose weights are arrays that `fit` leaves; their sizes are those of the data."""

    names: tuple[str, ...] = ()

    def __init__(self, length: int, channels: int, noise_dim: int) -> None:
        super().__init__()
        self.shape, self.noise_dim = (length, channels), noise_dim
        for name in self.names:
            self.register_buffer(name, torch.zeros(0))

    def keep(self, **arrays: Any) -> None:
        for name, array in arrays.items():
            setattr(self, name, torch.as_tensor(np.ascontiguousarray(array)))

    def fit(self, series_NLC: Tensor, mask_NLC: Tensor, seed: int) -> None:
        """Learn from scaled series, 0 where the mask is 0. A gap is filled with the others' mean there."""
        mean_LC = (series_NLC * mask_NLC).sum(0) / mask_NLC.sum(0).clamp(min=1)
        self.learn(torch.where(mask_NLC > 0, series_NLC, mean_LC).numpy(), seed)

    @abstractmethod
    def learn(self, series_NLC: np.ndarray, seed: int) -> None:
        """Keep what `draw` needs of scaled series without gaps."""

    @abstractmethod
    def draw(self, noise_BZ: Tensor) -> Tensor:
        """(B, Z) -> (B, L, C), float32."""

    def forward(self, noise_BZ: Tensor, condition_BK: Tensor) -> Tensor:
        return self.draw(noise_BZ.float()).to(noise_BZ.dtype)

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        for name in self.names:
            if prefix + name in state:
                setattr(self, name, torch.empty_like(state[prefix + name]))
        super()._load_from_state_dict(state, prefix, *rest)


class PcaGmm(Fitted):
    """Mixture of Gaussians in the space of principal components. A Gaussian has two series a dimension or
    more.
    """

    mean: Tensor
    directions: Tensor
    thresholds: Tensor
    centres: Tensor
    factors: Tensor
    names = ("mean", "directions", "thresholds", "centres", "factors")

    def __init__(self, length: int, channels: int, settings: config.PcaGmm) -> None:
        super().__init__(length, channels, 1 + settings.components)
        self.settings = settings

    def learn(self, series_NLC: np.ndarray, seed: int) -> None:
        rows = series_NLC.reshape(len(series_NLC), -1).astype(np.float64)
        components = max(1, min(self.settings.components, len(rows) // 4, rows.shape[1]))
        mixtures = max(1, min(self.settings.mixtures, len(rows) // (2 * components)))
        pca = PCA(components, random_state=seed).fit(rows)
        scores_NP = pca.transform(rows)
        gmm = GaussianMixture(
            mixtures, random_state=seed, reg_covar=1e-6 * max(float(scores_NP.var()), 1e-12)
        )
        gmm.fit(scores_NP)
        arrays = {
            "mean": pca.mean_,
            "directions": pca.components_,
            "thresholds": np.cumsum(gmm.weights_)[:-1],
            "centres": gmm.means_,
            "factors": np.linalg.cholesky(gmm.covariances_),
        }
        self.keep(**{name: array.astype(np.float32) for name, array in arrays.items()})

    def draw(self, noise_BZ: Tensor) -> Tensor:
        chosen_B = torch.searchsorted(self.thresholds, uniform(noise_BZ[:, 0]))
        normal_BP = noise_BZ[:, 1 : 1 + self.centres.shape[1]]
        scores_BP = self.centres[chosen_B] + torch.einsum("bpq,bq->bp", self.factors[chosen_B], normal_BP)
        return (self.mean + scores_BP @ self.directions).unflatten(1, self.shape)


class Gaussian(Fitted):
    """μ + F⁻¹[S_f^½ F[white noise]_f], S_f the channels' mean cross-spectrum at f."""

    mean: Tensor
    roots: Tensor
    names = ("mean", "roots")

    def __init__(self, length: int, channels: int, settings: config.Gaussian) -> None:
        super().__init__(length, channels, length * channels)

    def learn(self, series_NLC: np.ndarray, seed: int) -> None:
        mean_LC = series_NLC.mean(0)
        spectra_NFC = np.fft.rfft(series_NLC - mean_LC, axis=1)
        cross_FCC = np.einsum("nfc,nfd->fcd", spectra_NFC, spectra_NFC.conj()) / len(series_NLC)
        values_FC, vectors_FCC = np.linalg.eigh(cross_FCC)
        scaled_FCC = vectors_FCC * np.sqrt(values_FC.clip(min=0) / self.shape[0])[:, None]
        roots_FCC = scaled_FCC @ vectors_FCC.conj().swapaxes(1, 2)
        self.keep(mean=mean_LC, roots=roots_FCC.astype(np.complex64).view(np.float32))

    def draw(self, noise_BZ: Tensor) -> Tensor:
        white_BFC = torch.fft.rfft(noise_BZ.unflatten(1, self.shape), dim=1)
        roots_FCC = torch.view_as_complex(self.roots.unflatten(-1, (-1, 2)).contiguous())
        coloured_BFC = torch.einsum("fcd,bfd->bfc", roots_FCC, white_BFC)
        return self.mean + torch.fft.irfft(coloured_BFC, n=self.shape[0], dim=1)


class Bootstrap(Fitted):
    """Each block of steps from one training series, at its own place in time."""

    series: Tensor
    names = ("series",)

    def __init__(self, length: int, channels: int, settings: config.Bootstrap) -> None:
        super().__init__(length, channels, math.ceil(length / settings.block))
        self.block = settings.block

    def learn(self, series_NLC: np.ndarray, seed: int) -> None:
        self.keep(series=series_NLC)

    def draw(self, noise_BZ: Tensor) -> Tensor:
        source_BL = pick_rows(noise_BZ, len(self.series)).repeat_interleave(self.block, dim=1)[
            :, : self.shape[0]
        ]
        return self.series[source_BL, torch.arange(self.shape[0], device=noise_BZ.device)]


class ClusterMean(Fitted):
    """The mean of `members` series of one cluster, drawn one by one; large clusters come up more often."""

    series: Tensor
    starts: Tensor
    names = ("series", "starts")  # series in the order of their clusters, and where each cluster starts

    def __init__(self, length: int, channels: int, settings: config.ClusterMean) -> None:
        super().__init__(length, channels, 1 + settings.members)
        self.settings = settings

    def learn(self, series_NLC: np.ndarray, seed: int) -> None:
        clusters = max(1, min(self.settings.clusters, len(series_NLC) // self.settings.members))
        rows = series_NLC.reshape(len(series_NLC), -1)
        labels = KMeans(clusters, n_init=3, random_state=seed).fit_predict(rows)
        sizes = np.bincount(labels, minlength=clusters)
        starts = np.concatenate([[0], np.cumsum(sizes[sizes > 0])])
        self.keep(series=series_NLC[np.argsort(labels, kind="stable")], starts=starts.astype(np.int64))

    def draw(self, noise_BZ: Tensor) -> Tensor:
        first_B = pick_rows(noise_BZ[:, 0], len(self.series))
        cluster_B = torch.searchsorted(self.starts, first_B, right=True) - 1
        start_B, end_B = self.starts[cluster_B], self.starts[cluster_B + 1]
        member_BM = start_B[:, None] + pick_rows(noise_BZ[:, 1:], (end_B - start_B)[:, None])
        return self.series[member_BM].mean(1)


def pick_rows(normal: Tensor, count: int | Tensor) -> Tensor:
    """Standard normal numbers to places in 0 … count - 1, each as likely."""
    return (uniform(normal.double()) * count).long().clamp(max=count - 1)  # type: ignore[arg-type]


FAMILIES: dict[str, Any] = {
    "pca_gmm": PcaGmm,
    "gaussian": Gaussian,
    "bootstrap": Bootstrap,
    "cluster_mean": ClusterMean,
}


def build(
    settings: Any, length: int, channels: int, condition_dim: int, labels: int = 0
) -> dict[str, nn.Module]:
    """The generator alone, still to be fitted."""
    return {"generator": FAMILIES[settings.name](length, channels, settings)}
