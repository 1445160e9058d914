"""Places of the repository, and settings with which a run takes seconds."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


TINY = [
    "data.reduce.factor=2",
    "encoder.patch=12",
    "encoder.width=16",
    "encoder.depth=1",
    "encoder.latent_dim=4",
    "encoder.steps=12",
    "encoder.batch_size=8",
    "encoder.heads=2",
    "bank.condition_dim=2",
    "bank.min_members=15",
    "model.patch=12",
    "model.generator.width=16",
    "model.generator.noise_dim=4",
    "model.generator.token_noise_dim=2",
    "model.generator.scales=[{ratio: 1, depth: 1, heads: 2}, {ratio: 2, depth: 1, heads: 2}]",
    "model.discriminator.width=16",
    "model.discriminator.scales=[{ratio: 1, depth: 1, heads: 2}]",
    "model.discriminator.periods=[12]",
    "model.discriminator.spectra=[24]",
    "model.discriminator.side_channels=2",
    "train.steps=20",
    "train.batch_size=8",
    "train.report_every=5",
    "train.sample_every=1000",
    "train.checkpoint_every=5",
    "generate.count=12",
    "evaluate.pictures=false",
    "engine.threads=1",
    "engine.trackers=[]",
]

# Series of 56 steps and a hurried encoder, over TINY, for runs whose series nobody looks at.
SHORT = ["encoder.steps=3", "data.reduce.factor=12", "encoder.patch=8", "model.patch=8"]
