# %% [markdown]
# # A first run in Python
# Cells in percent format: Jupyter (with jupytext), VS Code and PyCharm open this file as a notebook, and
# `python first_run.py [FOLDER]` runs it. It makes a small population of homes, learns from it, and samples.

# %%
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import distgan
from distgan.train import train

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/first_run")
folder.mkdir(parents=True, exist_ok=True)

# %% [markdown]
# ## Series
# An array `x` of homes x steps x channels, its first time and its step. A CSV with a column a home would
# do as well.

# %%
rng = np.random.default_rng(0)
hours = np.arange(24 * 14)
rhythm = 1 + 0.6 * np.sin(2 * np.pi * (hours - rng.uniform(4, 9, (60, 1))) / 24)
x = rng.lognormal(0, 0.4, (60, 1)) * rhythm * rng.gamma(8, 1 / 8, (60, len(hours)))
np.savez(folder / "homes.npz", x=x[..., None].astype(np.float32), t0="2024-01-01T00:00:00", freq="1h")

# %% [markdown]
# ## Training
# The same as `distgan train` with these settings; `configs/demo.yaml` has ones for real data. Run
# again, it goes on.

# %%
settings = [
    f"data.source={folder / 'homes.npz'}",
    "data.units=kWh",
    "data.scaling.lower_bound=0.0",
    "encoder.width=16",
    "encoder.depth=1",
    "encoder.latent_dim=4",
    "encoder.steps=40",
    "bank.condition_dim=2",
    "model=mlp_gan",
    "train.steps=60",
    "train.batch_size=16",
]
stages = "prepare,encoder,encode,cluster,bank,gan"
train(["--run-dir", str(folder / "run"), "--stages", stages, *settings])

# %% [markdown]
# ## Sampling
# Original units, `[series, steps, channels]`, from the groups' means alone: the real series are not read.

# %%
run = distgan.load(folder / "run")
series = run.sample(5, seed=1)
one_group = run.sample(5, condition=0)
print(series.shape, one_group.shape, run.meta.units, run.times()[:2])

# %%
figure, axes = plt.subplots(2, 1, figsize=(8, 4), sharex=True, constrained_layout=True)
axes[0].plot(run.times(), x[:5].T, linewidth=0.8)
axes[1].plot(run.times(), series[:, :, 0].T, linewidth=0.8)
axes[0].set_title("real")
axes[1].set_title("synthetic, after a few seconds of training")
figure.savefig(folder / "first_run.png")
