"""Series as points, groups behind the released means, the latent map."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from distgan.evaluation.metrics import descriptors as described
from distgan.evaluation.plots.style import (
    FAINT,
    INK,
    LINE,
    OTHERS,
    REAL,
    SYNTHETIC,
    Array,
    View,
    add_legend,
    apply_style,
    make_figure,
)
from distgan.rng import make_keyed_generator

MOST_DOTS = 5000  # of latents
MOST_PLACED = 400  # series of either set, as t-SNE is slow


@apply_style
def draw_embedding(real: Array, synthetic: Array, view: View) -> Figure:
    """Draw series, of many a random part, as points: principal components of their descriptors, and t-SNE of
    the same.
    """
    from sklearn.manifold import TSNE  # here alone, and half a second to import

    def some(series: Array, name: str) -> Array:
        order = make_keyed_generator(view.seed, 0, f"embedding {name}").permutation(len(series))
        return series[np.sort(order[:MOST_PLACED])]

    real, synthetic = some(real, "real"), some(synthetic, "synthetic")
    grid = described.make_reference_grid(real, view.steps_per_day)
    descriptors = described.compute_descriptors(real, grid)
    space = described.fit_space(descriptors)
    points = np.concatenate(
        [space.place(descriptors), space.place(described.compute_descriptors(synthetic, grid))]
    )
    flat = np.pad(points, ((0, 0), (0, max(0, 2 - points.shape[1]))))
    panels = [("Principal components of descriptors", flat[:, :2])]
    if len(points) >= 12:
        perplexity = min(30.0, (len(points) - 1) / 4)
        shown = TSNE(2, perplexity=perplexity, init="pca", random_state=view.seed % 2**32).fit_transform(flat)
        panels.append(("t-SNE of the same", shown))
    figure, axes = make_figure(1, len(panels), 3.7)
    for axis, (title, place) in zip(axes[0], panels):
        for part, name, marker in (
            (slice(len(real)), "real", "o"),
            (slice(len(real), None), "synthetic", "x"),
        ):
            axis.scatter(
                *place[part].T, s=20, marker=marker, alpha=0.7, color=LINE[name]["color"], label=name, lw=1.0
            )
        axis.set(title=title, xticks=[], yticks=[])
    add_legend(axes[0, 0])
    return figure


@apply_style
def draw_groups(
    sizes: Sequence[float],
    *,
    minimum_size: int,
    tracing: Sequence[float] | None = None,
    limit: float | None = None,
) -> Figure:
    """Draw the entities behind every released mean, with the minimum group size, and the success of
    tracing.
    """
    order = np.argsort(sizes)[::-1]
    figure, axes = make_figure(1, 2 if tracing is not None else 1, 2.7)
    place = np.arange(1, len(order) + 1)
    axes[0, 0].bar(place, np.asarray(sizes)[order], color="#6C8EAD", width=0.8)
    axes[0, 0].axhline(minimum_size, color=INK, ls="--", lw=1)
    axes[0, 0].annotate(
        f"minimum size {minimum_size}", (1, minimum_size), (-2, 3), xycoords=("axes fraction", "data"),
        ha="right", textcoords="offset points", fontsize=8, bbox={"fc": "white", "ec": "none", "pad": 1},
    )  # fmt: skip
    axes[0, 0].set(xlabel="rank of the group by size", ylabel="entities in the group")
    axes[0, 0].xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[0, 0].grid(axis="y")
    if tracing is not None:
        axis = axes[0, 1]
        axis.plot(place, np.asarray(tracing)[order], "o", color=INK, ms=4)
        if limit is not None:
            axis.axhline(limit, color="#A32020", ls="--", lw=1)
            axis.annotate("limit", (1, limit), (-2, 3), xycoords=("axes fraction", "data"), ha="right",
                          textcoords="offset points", fontsize=8, color="#A32020")  # fmt: skip
        axis.axhline(0.5, color=FAINT, lw=1)
        top = max([*tracing, limit or 0.5]) + 0.03
        axis.set(
            xlabel="rank of the group by size",
            ylabel="membership inference, AUC (0.5 = guessing)",
            ylim=(0.48, top),
        )
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(axis="y")
    return figure


@apply_style
def draw_elbow(
    counts: Sequence[int], inertia: Sequence[float], silhouette: Sequence[float], criterion: str, count: int
) -> Figure:
    """Draw inertia and silhouette of every number of clusters that was tried, with the one chosen."""
    figure, axes = make_figure(1, 2, 2.7)
    curves = {"elbow": (inertia, "inertia over all latents"), "silhouette": (silhouette, "mean silhouette")}
    for axis, (name, (values, label)) in zip(axes[0], curves.items()):
        axis.plot(counts, values, "o-", color=REAL, ms=4)
        axis.axvline(count, color=INK, ls="--", lw=1)
        axis.set(xscale="log", xlabel="clusters", ylabel=label)
        axis.set_title(f"{count} chosen by the {criterion}" if name == criterion else "")
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.grid(axis="y")
    return figure


@apply_style
def draw_latent_map(
    points: Array, labels: Array, centres: Array, *, explained: float | None = None
) -> Figure:
    """Draw latents, of many a random part, and the means of their groups in the first two directions: [n, K],
    [n], [G, K].
    """
    figure, axes = make_figure(1, 1, 4.6)
    axis = axes[0, 0]
    whole = len(points)
    if whole > MOST_DOTS:
        shown = make_keyed_generator(0, 0, "map").choice(whole, MOST_DOTS, replace=False)
        points, labels = points[shown], labels[shown]
    x, y = (points[:, i] if points.shape[1] > i else np.zeros(len(points)) for i in (0, 1))
    palette = (REAL, SYNTHETIC, *OTHERS[:4])
    axis.scatter(x, y, s=7, c=[palette[int(label) % len(palette)] for label in labels], lw=0, alpha=0.5)
    u, v = (centres[:, i] if centres.shape[1] > i else np.zeros(len(centres)) for i in (0, 1))
    axis.plot(u, v, "o", color="white", mec=INK, ms=9)
    for number, place in enumerate(zip(u, v)):
        axis.annotate(str(number), place, ha="center", va="center", fontsize=6, color=INK)
    axis.set(xlabel="first direction", ylabel="second direction")
    axis.set_title(
        (f"{len(points):,} of " if len(points) < whole else "")
        + f"{whole:,} latents, {len(centres)} groups"
        + (f"; all directions of the condition keep {explained:.0%} of the variance" if explained else "")
    )
    return figure
