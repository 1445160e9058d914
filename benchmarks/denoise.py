"""How much noise NR-GAN takes off an ECG: gain in SNR and correlation with the clean signal at 0, 5 and
10 dB, beside filters (SciPy) and wavelet shrinkage (PyWavelets), each with and without the slow part.

    python benchmarks/denoise.py --ecg ECG.npz [--run runs/nr_gan]     # trains, unless that run is finished
    python benchmarks/denoise.py --ecg ECG.npz --make ecg_noise.npz    # only writes the training series
    python benchmarks/denoise.py --smoke

ECG.npz has x [records, L, C] in mV at 360 Hz. Of each lead, the first 45 % of the time are the clean
training series, the next 35 % get noise and are the noisy ones, the last 15 % are tested on. Noise is white,
or baseline wander (sinusoids of .05 to .5 Hz), or both; the networks see 0 to 10 dB, mixed, and are not given
which is which.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pywt
from common import ROOT, finish, show
from scipy import signal

from distgan import config, train
from distgan.commands.denoise import filter_series
from distgan.models.nr_gan import Generator
from distgan.pipeline.train_gan import load_generator
from distgan.pipeline.training_data import read_scaler
from distgan.run import Run

RATE = 360  # samples a second
KINDS = ("noise", "wander", "both")
LEVELS = (0, 5, 10)  # dB
LENGTH = 4096  # samples of a stretch, eleven seconds: room for a wave of the wander
COARSEST = 8  # wavelet levels: below 360 / 2^9 = .7 Hz
Denoiser = Callable[[np.ndarray], np.ndarray]  # [n, L] -> [n, L]


# ------------------------------------------------------------------------------------------------- the series


def stretches(lead: np.ndarray, first: float, last: float, length: int) -> np.ndarray:
    """[L] -> [n, length] between two shares of the time."""
    part = lead[int(first * len(lead)) : int(last * len(lead))]
    return part[: len(part) // length * length].reshape(-1, length)


def noise_of(kind: str, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Noise of unit power: [n, L]."""
    white = rng.standard_normal(shape)
    seconds = np.arange(shape[1]) / RATE
    rates, phases = rng.uniform(0.05, 0.5, (shape[0], 4, 1)), rng.uniform(0, 2 * np.pi, (shape[0], 4, 1))
    waves = np.sin(2 * np.pi * rates * seconds + phases).sum(1)
    waves -= waves.mean(1, keepdims=True)
    parts = {"noise": white, "wander": waves, "both": unit(white) + unit(waves)}
    return unit(parts[kind])


def unit(values: np.ndarray) -> np.ndarray:
    return values / np.sqrt(np.mean(values**2, axis=1, keepdims=True))


def spoiled(clean: np.ndarray, kind: str, level: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Clean series [n, L] with noise of so many dB [n, 1] below their variance."""
    power = clean.std(axis=1, keepdims=True)
    return clean + power * 10 ** (-level / 20) * noise_of(kind, clean.shape, rng)


def make(leads: list[np.ndarray], path: Path, seed: int = 0) -> None:
    """The labelled training series, as an NPZ that `data.source` takes."""
    rng = np.random.default_rng(seed)
    clean = np.concatenate([stretches(lead, 0, 0.45, LENGTH) for lead in leads])
    other = np.concatenate([stretches(lead, 0.45, 0.8, LENGTH) for lead in leads])
    kinds = [KINDS[number % len(KINDS)] for number in range(len(other))]
    levels = rng.uniform(0, 10, (len(other), 1))
    noisy = [spoiled(other[i : i + 1], kind, levels[i], rng) for i, kind in enumerate(kinds)]
    x = np.concatenate([clean, *noisy]).astype(np.float32)[..., None]
    labels = np.array(["clean"] * len(clean) + ["noisy"] * len(other))
    np.savez_compressed(path, x=x, label=labels)


# -------------------------------------------------------------------------------------------------- denoisers


def low_pass(noisy: np.ndarray) -> np.ndarray:
    """Butterworth of order 4 up to 40 Hz, forward and backward."""
    return signal.sosfiltfilt(signal.butter(4, 40, "lowpass", fs=RATE, output="sos"), noisy)


def band_pass(noisy: np.ndarray) -> np.ndarray:
    """The same from .5 to 40 Hz."""
    return signal.sosfiltfilt(signal.butter(4, (0.5, 40), "bandpass", fs=RATE, output="sos"), noisy)


def shrunk(noisy: np.ndarray, keep_coarse: bool = True) -> np.ndarray:
    """Symlets of order 8, soft universal threshold (Donoho and Johnstone 1994)."""
    coarse, *details = pywt.wavedec(noisy, "sym8", level=COARSEST)
    deviation = np.median(np.abs(details[-1]), axis=-1, keepdims=True) / 0.6745
    limit = deviation * np.sqrt(2 * np.log(noisy.shape[1]))
    kept = [np.sign(d) * np.maximum(np.abs(d) - limit, 0) for d in details]
    return pywt.waverec([keep_coarse * coarse, *kept], "sym8")[..., : noisy.shape[1]]


def shrunk_and_level(noisy: np.ndarray) -> np.ndarray:
    """The same without what is below .7 Hz."""
    return shrunk(noisy, keep_coarse=False)


BASELINES: dict[str, Denoiser] = {
    "low-pass": low_pass,
    "band-pass": band_pass,
    "wavelet": shrunk,
    "wavelet, level": shrunk_and_level,
}


def trained(run: Run) -> Denoiser:
    settings = config.load(run.config)
    network, (scaler, _) = load_generator(settings, run).eval(), read_scaler(run)
    assert isinstance(network, Generator)
    return lambda noisy: filter_series(noisy[..., None].astype(np.float32), network, scaler)[..., 0]


# ----------------------------------------------------------------------------------------------------- scores


def decibels(clean: np.ndarray, made: np.ndarray) -> np.ndarray:
    """SNR of each series, levels taken off: [n, L] -> [n]."""
    error = made - clean
    return 10 * np.log10(clean.var(axis=1) / np.maximum(error.var(axis=1), 1e-12))


def correlation(clean: np.ndarray, made: np.ndarray) -> np.ndarray:
    a, b = (x - x.mean(axis=1, keepdims=True) for x in (clean, made))
    return (a * b).sum(1) / np.sqrt((a**2).sum(1) * (b**2).sum(1))


def interval(values: np.ndarray) -> float:
    """Half of the 95 % interval of the mean."""
    return float(1.96 * values.std(ddof=1) / len(values) ** 0.5)


def rows(clean: np.ndarray, denoisers: dict[str, Denoiser], seed: int = 1) -> list[dict[str, Any]]:
    found = []
    for kind in KINDS:
        for level in LEVELS:
            rng = np.random.default_rng([seed, KINDS.index(kind), level])
            noisy = spoiled(clean, kind, np.full((len(clean), 1), float(level)), rng)
            before = decibels(clean, noisy)
            row: dict[str, Any] = {
                "noise": kind,
                "dB": level,
                "noisy r": float(correlation(clean, noisy).mean()),
            }
            for name, denoise in denoisers.items():
                made = denoise(noisy)
                gain = decibels(clean, made) - before
                row[f"{name} gain"] = float(gain.mean())
                row[f"{name} ±"] = interval(gain)
                row[f"{name} r"] = float(correlation(clean, made).mean())
            found.append(row)
    return found


# -------------------------------------------------------------------------------------------------------- run


def pulses(seconds: int) -> np.ndarray:
    """A made-up heartbeat, for the smoke run alone."""
    times = np.arange(seconds * RATE) / RATE
    return np.exp(-(((times % 0.8) - 0.4) ** 2) / 2e-4) - 0.2 * np.exp(-(((times % 0.8) - 0.5) ** 2) / 2e-3)


def read(path: Path) -> list[np.ndarray]:
    with np.load(path, allow_pickle=False) as content:
        return [lead.astype(np.float64) for record in content["x"] for lead in record.T]


def learn(leads: list[np.ndarray], folder: Path, overrides: list[str]) -> float:
    """Train configs/nr_gan.yaml on the leads in `folder`, unless that is done; CPU seconds of it."""
    source, started = folder.with_name(f"{folder.name}-series.npz"), time.process_time()
    if not source.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        make(leads, source)
    given = ["--config", str(ROOT / "configs" / "nr_gan.yaml"), "--run-dir", str(folder)]
    train.train([*given, f"data.source={source}", *overrides])
    return time.process_time() - started


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ecg", type=Path, help="NPZ with x [records, L, C] at 360 Hz")
    parser.add_argument("--make", type=Path, help="only write the training series there")
    parser.add_argument("--run", type=Path, default=Path("runs/nr_gan"))
    parser.add_argument("--smoke", action="store_true", help="tiny and quick, figures meaningless")
    parser.add_argument("overrides", nargs="*", metavar="key.sub=value", help="settings over the config's")
    options = parser.parse_intermixed_args()
    if not options.smoke and options.ecg is None:
        parser.error("--ecg FILE is needed")
    leads = [pulses(240)] if options.smoke else read(options.ecg)
    if options.make:
        make(leads, options.make)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "run" if options.smoke else options.run
        quick = ["train.steps=3", "train.batch_size=4", "engine.threads=1"] if options.smoke else []
        seconds = learn(leads, folder, [*quick, *options.overrides])
        clean = np.concatenate([stretches(lead, 0.85, 1, LENGTH) for lead in leads])
        clean -= clean.mean(axis=1, keepdims=True)
        found = rows(clean, {"nr_gan": trained(Run(folder)), **BASELINES})
    for title, ending in (
        ("gain in dB, with 95 % interval", ("gain", "±")),
        ("correlation with the clean", ("r",)),
    ):
        shown = [
            {key: row[key] for key in row if key in ("noise", "dB") or key.endswith(ending)} for row in found
        ]
        show(f"{len(clean)} series of {LENGTH} samples: {title}", shown)
    better = sum(row["nr_gan gain"] > max(row[f"{name} gain"] for name in BASELINES) for row in found)
    print(
        f"\nnr_gan gains more than all others on {better} of {len(found)} rows; training {seconds:.0f} CPU s"
    )
    finish(1, series=len(clean), training_cpu_s=seconds, rows=found, better=better)


if __name__ == "__main__":
    main()
