"""The sections of the classical baselines, which are fitted at once; see `families.py`."""

from typing import Any, ClassVar, Literal

from distgan.config.base import key
from distgan.config.family import Family

LEVELS = 513  # quantiles of a distribution that is kept


class PcaGmm(Family):
    implementation: ClassVar[str] = "distgan.models.classical"
    kind: ClassVar[str] = "baseline"
    fitted: ClassVar[bool] = True

    name: Literal["pca_gmm"] = key("pca_gmm", "baseline: Gaussian mixture of principal components")
    components: int = key(40, "principal components; fewer if there are fewer series", ge=1)
    mixtures: int = key(40, "Gaussians of the mixture; fewer if there are fewer series", ge=1)


class PcaCopula(Family):
    implementation: ClassVar[str] = "distgan.models.classical"
    kind: ClassVar[str] = "baseline"
    fitted: ClassVar[bool] = True

    name: Literal["pca_copula"] = key(
        "pca_copula", "baseline: principal components with a Gaussian copula of their scores"
    )
    components: int = key(40, "principal components; fewer if there are fewer series", ge=1)
    levels: int = key(
        LEVELS,
        "quantiles of each score's distribution; a release needs 30 owners for each",
        ge=2,
        le=4096,
    )

    def describe(self) -> dict[str, Any]:
        """Return the settings that networks depend on: the usual levels are left out, so runs of before stay
        valid.
        """
        tree = super().describe()
        if self.levels == LEVELS:
            del tree["levels"]
        return tree


class TemplateAr(Family):
    implementation: ClassVar[str] = "distgan.models.classical"
    kind: ClassVar[str] = "baseline"
    fitted: ClassVar[bool] = True

    name: Literal["template_ar"] = key(
        "template_ar", "baseline: mean curve of a cluster, and autoregressive noise"
    )
    clusters: int = key(12, "k of k-means on the series; fewer if there are fewer series", ge=1)
    members: int = key(8, "minimum average number of series per cluster", ge=1)
    order: int = key(192, "lags of the autoregression; at most a quarter of the series", ge=1)


class Gaussian(Family):
    implementation: ClassVar[str] = "distgan.models.classical"
    kind: ClassVar[str] = "baseline"
    fitted: ClassVar[bool] = True

    name: Literal["gaussian"] = key(
        "gaussian", "baseline: mean curve, and noise with the spectrum of the series"
    )


class Bootstrap(Family):
    implementation: ClassVar[str] = "distgan.models.classical"
    kind: ClassVar[str] = "baseline"
    fitted: ClassVar[bool] = True
    stores_real_series: ClassVar[bool] = True

    name: Literal["bootstrap"] = key(
        "bootstrap", "baseline: concatenated pieces of real series; never release"
    )
    block: int = key(24, "steps of a piece, which keeps its position in the series", ge=1)


class ClusterMean(Family):
    implementation: ClassVar[str] = "distgan.models.classical"
    kind: ClassVar[str] = "baseline"
    fitted: ClassVar[bool] = True
    stores_real_series: ClassVar[bool] = True

    name: Literal["cluster_mean"] = key("cluster_mean", "baseline: mean of a few members of a cluster")
    clusters: int = key(30, "k of k-means on the series; fewer if there are fewer series", ge=1)
    members: int = key(4, "number of series that are averaged", ge=1)


BASELINES: tuple[type[Family], ...] = (PcaGmm, PcaCopula, TemplateAr, Gaussian, Bootstrap, ClusterMean)
