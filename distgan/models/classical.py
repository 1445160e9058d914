"""Baseline generators: fitted without gradients, sampled like every other family.

    pca_gmm       principal components, and a Gaussian mixture of their scores
    pca_copula    principal components whose scores keep their own distributions, joined by a Gaussian copula
    template_ar   the mean curve of a cluster, and autoregressive noise about it
    gaussian      the mean curve, and Gaussian noise with the spectrum of what is left, channels jointly
    bootstrap     each piece of time from a real series drawn at random
    cluster_mean  the mean of a few real series of one cluster

Each turns standard normal noise into a series, so that they are seeded, generated and reported as the trained
ones; all are unconditional. `bootstrap` and `cluster_mean` keep the real training series among their weights:
they are baselines for reports and must never be released.

Shapes: N training series, B series, L steps, C channels, F frequencies, P components, M mixtures, K clusters,
Q quantiles, O lags, Z noise.
"""

import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from scipy.linalg import solve_toeplitz
from scipy.signal import lfilter
from scipy.special import ndtri
from scipy.stats import rankdata
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture
from torch import Tensor, nn

from distgan import config
from distgan.models.recurrent import to_uniform

LEVELS = config.PcaCopula().levels  # quantiles of a distribution that is kept
RIDGE = 1e-4  # of a correlation: columns that say the same twice stay apart


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

    def keep_floats(self, **arrays: np.ndarray) -> None:
        self.keep(**{name: array.astype(np.float32) for name, array in arrays.items()})

    def fit(self, series_NLC: Tensor, mask_NLC: Tensor, seed: int) -> None:
        """Learn from scaled series, 0 where the mask is 0. A gap is filled with the others' mean there."""
        mean_LC = (series_NLC * mask_NLC).sum(0) / mask_NLC.sum(0).clamp(min=1)
        self.learn(torch.where(mask_NLC > 0, series_NLC, mean_LC).numpy(), seed)

    def find_smallest_share(self) -> float:
        """Return the share of the training series behind the smallest part: a cluster or a Gaussian, where
        `thresholds` say at which share each but the last ends; one of the principal directions together; the
        end of a score's distribution, beyond its last quantile.
        """
        ends = self.get_buffer("thresholds").double().cpu() if "thresholds" in self.names else torch.empty(0)
        parts = [float(np.diff(ends.numpy(), prepend=0, append=1).min())]
        if "directions" in self.names:
            parts.append(1 / max(1, len(self.get_buffer("directions"))))
            if "quantiles" in self.names:
                parts.append(0.5 / max(1, len(self.get_buffer("quantiles"))))
        return min(parts)

    @abstractmethod
    def learn(self, series_NLC: np.ndarray, seed: int) -> None:
        """Keep what `draw` needs of scaled series without gaps."""

    @abstractmethod
    def draw(self, noise_BZ: Tensor) -> Tensor:
        """Return series (B, L, C), float32, from noise (B, Z)."""

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
        pca, scores_NP = fit_components(series_NLC, self.settings.components, seed)
        mixtures = max(1, min(self.settings.mixtures, len(scores_NP) // (2 * scores_NP.shape[1])))
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
        self.keep_floats(**arrays)

    def draw(self, noise_BZ: Tensor) -> Tensor:
        chosen_B = torch.searchsorted(self.thresholds, to_uniform(noise_BZ[:, 0]))
        normal_BP = noise_BZ[:, 1 : 1 + self.centres.shape[1]]
        scores_BP = self.centres[chosen_B] + torch.einsum("bpq,bq->bp", self.factors[chosen_B], normal_BP)
        return (self.mean + scores_BP @ self.directions).unflatten(1, self.shape)


class PcaCopula(Fitted):
    """Principal components of the series; each score has its own distribution, by `levels` quantiles, and the
    scores are joined by their rank correlations.
    """

    mean: Tensor
    directions: Tensor
    quantiles: Tensor
    factor: Tensor
    names = ("mean", "directions", "quantiles", "factor")

    def __init__(self, length: int, channels: int, settings: config.PcaCopula) -> None:
        super().__init__(length, channels, settings.components)
        self.settings = settings

    def learn(self, series_NLC: np.ndarray, seed: int) -> None:
        pca, scores_NP = fit_components(series_NLC, self.settings.components, seed)
        normal_NP = ndtri((rankdata(scores_NP, axis=0) - 0.5) / len(scores_NP))
        arrays = {
            "mean": pca.mean_,
            "directions": pca.components_,
            "quantiles": compute_quantiles(scores_NP, min(self.settings.levels, len(scores_NP))),
            "factor": factorise_correlations(normal_NP),
        }
        self.keep_floats(**arrays)

    def draw(self, noise_BZ: Tensor) -> Tensor:
        normal_BP = noise_BZ[:, : len(self.factor)] @ self.factor.T
        scores_BP = from_quantiles(self.quantiles, normal_BP)
        return (self.mean + scores_BP @ self.directions).unflatten(1, self.shape)


class TemplateAr(Fitted):
    """The mean curve of a cluster, and noise about it: F⁻¹[F[e] / A], e independent with the quantiles of the
    cluster's innovations, A the autoregression that all clusters share (Yule-Walker), channel by channel.
    """

    thresholds: Tensor
    templates: Tensor
    coefficients: Tensor
    quantiles: Tensor
    factor: Tensor
    names = ("thresholds", "templates", "coefficients", "quantiles", "factor")

    def __init__(self, length: int, channels: int, settings: config.TemplateAr) -> None:
        super().__init__(length, channels, 1 + length * channels)
        self.settings = settings

    def learn(self, series_NLC: np.ndarray, seed: int) -> None:
        count, (length, channels) = len(series_NLC), self.shape
        clusters = max(1, min(self.settings.clusters, count // self.settings.members))
        labels = KMeans(clusters, n_init=3, random_state=seed).fit_predict(series_NLC.reshape(count, -1))
        kept, labels, sizes = np.unique(labels, return_inverse=True, return_counts=True)
        templates_KLC = np.stack([series_NLC[labels == each].mean(0) for each in range(len(kept))])
        rest_NLC = series_NLC.astype(np.float64) - templates_KLC[labels]
        order = max(1, min(self.settings.order, length // 4))
        coefficients_CO = np.stack([fit_yule_walker(rest_NLC[..., each], order) for each in range(channels)])
        innovations_NLC = np.stack(
            [
                lfilter(np.r_[1, -coefficients_CO[each]], [1], rest_NLC[..., each], axis=1)
                for each in range(channels)
            ],
            axis=2,
        )
        levels = min(LEVELS, int(sizes.min()) * length)
        quantiles_KQC = np.stack(
            [
                compute_quantiles(innovations_NLC[labels == each].reshape(-1, channels), levels)
                for each in range(len(kept))
            ]
        )
        arrays = {
            "thresholds": np.cumsum(sizes / count)[:-1],
            "templates": templates_KLC,
            "coefficients": coefficients_CO,
            "quantiles": quantiles_KQC,
            "factor": factorise_correlations(innovations_NLC.reshape(-1, channels)),
        }
        self.keep_floats(**arrays)

    def draw(self, noise_BZ: Tensor) -> Tensor:
        chosen_B = torch.searchsorted(self.thresholds, to_uniform(noise_BZ[:, 0]))
        normal_BLC = noise_BZ[:, 1:].unflatten(1, self.shape) @ self.factor.T
        made = [
            from_quantiles(self.quantiles[place], normal_LC)
            for place, normal_LC in zip(chosen_B.tolist(), normal_BLC)
        ]
        length = self.shape[0]
        whitening_CL = nn.functional.pad(-self.coefficients, (1, length - 1 - self.coefficients.shape[1]))
        whitening_CL[:, 0] = 1
        response_FC = torch.fft.rfft(whitening_CL, dim=1).T
        noise_BLC = torch.fft.irfft(torch.fft.rfft(torch.stack(made), dim=1) / response_FC, n=length, dim=1)
        return self.templates[chosen_B] + noise_BLC


def fit_components(series_NLC: np.ndarray, most: int, seed: int) -> tuple[PCA, np.ndarray]:
    """Return at most `most` principal components, with four series or more each, and the scores [N, P]."""
    rows = series_NLC.reshape(len(series_NLC), -1).astype(np.float64)
    components = max(1, min(most, len(rows) // 4, rows.shape[1]))
    pca = PCA(components, random_state=seed).fit(rows)
    return pca, pca.transform(rows)


def factorise_correlations(values_NP: np.ndarray) -> np.ndarray:
    """Return the Cholesky factor of the columns' correlations: [N, P] -> [P, P]; a constant has none."""
    correlation_PP = np.atleast_2d(np.nan_to_num(np.corrcoef(values_NP.T), nan=0.0))
    np.fill_diagonal(correlation_PP, 1)
    return np.linalg.cholesky((1 - RIDGE) * correlation_PP + RIDGE * np.eye(len(correlation_PP)))


def fit_yule_walker(rest_NL: np.ndarray, order: int) -> np.ndarray:
    """Return the autoregressive coefficients of zero-mean series: [N, L] -> [order] float64."""
    size = 2 * rest_NL.shape[1]
    power = (np.abs(np.fft.rfft(rest_NL, n=size, axis=1)) ** 2).mean(0)
    covariance = np.fft.irfft(power, n=size)[: order + 1] / rest_NL.shape[1]
    if covariance[0] <= 0:
        return np.zeros(order)
    covariance[0] *= 1 + RIDGE
    return np.asarray(solve_toeplitz(covariance[:-1], covariance[1:]))


def compute_quantiles(values_NP: np.ndarray, levels: int) -> np.ndarray:
    """Return each column's values at even probabilities, with the columns' means and deviations: [N, P] ->
    [Q, P].
    """
    found_QP = np.quantile(values_NP, (np.arange(levels) + 0.5) / levels, axis=0)
    wanted_P, have_P = values_NP.std(0), found_QP.std(0)
    factor_P = np.divide(wanted_P, have_P, out=np.ones_like(wanted_P), where=have_P > 0)
    return np.asarray(values_NP.mean(0) + (found_QP - found_QP.mean(0)) * factor_P)


def from_quantiles(quantiles_QP: Tensor, normal_BP: Tensor) -> Tensor:
    """Return values of a column's distribution, between its quantiles, for standard normal numbers: [B, P]
    both.
    """
    levels = len(quantiles_QP)
    place_BP = (to_uniform(normal_BP) * levels - 0.5).clamp(0, levels - 1)
    low_BP = place_BP.long().clamp(max=max(levels - 2, 0))
    high_BP = (low_BP + 1).clamp(max=levels - 1)
    share_BP = place_BP - low_BP
    return quantiles_QP.gather(0, low_BP) * (1 - share_BP) + quantiles_QP.gather(0, high_BP) * share_BP


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
    """Return places in 0 … count - 1, each as likely, for standard normal numbers."""
    return (to_uniform(normal.double()) * count).long().clamp(max=count - 1)  # type: ignore[arg-type]


FAMILIES: dict[str, Any] = {
    "pca_gmm": PcaGmm,
    "pca_copula": PcaCopula,
    "template_ar": TemplateAr,
    "gaussian": Gaussian,
    "bootstrap": Bootstrap,
    "cluster_mean": ClusterMean,
}


def build(
    settings: Any, length: int, channels: int, condition_dim: int, labels: int = 0
) -> dict[str, nn.Module]:
    """Return the generator alone, still to be fitted."""
    return {"generator": FAMILIES[settings.name](length, channels, settings)}
