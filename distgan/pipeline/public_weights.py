"""Weights of a run on public data, from which a private training starts (`privacy.public`).

They are copied into the run before anything is spent, so that the run does not need the other one any more.
They are constants of the guarantee: nothing of them is counted in epsilon.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
from torch import nn

from distgan import config
from distgan.anonymity.copy_pairs import Population
from distgan.anonymity.near_copies import find_near_copies
from distgan.data.store.reader import Store
from distgan.engine import checkpoint
from distgan.errors import Mismatch, UserError
from distgan.files import read_record, write_bytes
from distgan.pipeline.context import PipelineContext
from distgan.pipeline.digests import audit_chain
from distgan.pipeline.training_data import load_network
from distgan.run import MANIFEST, Run, list_steps

VAE = "vae"
ENCODER = tuple(
    f"encoder.{name}" for name in ("patch", "width", "depth", "decoder_depth", "heads", "latent_dim")
)


def take_public_weights(context: PipelineContext) -> tuple[Path, ...]:
    """Copy the weights into the run, unless they are there; return the files, none without `privacy.public`.

    Every process calls it.

    Raises:
        UserError: the folder is no finished run on other data, or one of other networks, or it is private.
        Mismatch: the run began with other weights, or the folder does not hold what it was trained on.
    """
    place = context.settings.privacy.public
    if place is None:
        return ()
    run, public = context.run, Run(Path(place))
    files = tuple(run.public_weights(name) for name in _list_networks(context.settings))
    context.parallel.run_on_main(lambda: _copy(context.settings, public, run))
    return files


def fill_networks(context: PipelineContext, networks: Mapping[str, nn.Module]) -> None:
    """Fill networks, by name, with the public weights, if there are any.

    Raises:
        UserError: a file is damaged, or of another network.
    """
    if context.settings.privacy.public is not None:
        for name, network in networks.items():
            load_network(network, context.run.public_weights(name))


def _copy(settings: config.Config, public: Run, run: Run) -> None:
    networks = _list_networks(settings)
    files = [run.public_weights(name) for name in networks]
    begun = all(path.exists() for path in files)
    if begun and not public.folder.exists():
        return
    if not begun:  # the search for near copies is long, and was made before the weights were copied
        _refuse_unfinished(public)
        other = config.load(public.config)
        _refuse_private(other, public)
        audit_chain(other, public, last="gan")  # or series might lie there that it was not trained on
        _refuse_unfit_data(public, run)
        _refuse_other_networks(settings, other, public)
    for name, weights in _read_weights(public, networks).items():
        path = run.public_weights(name)
        if path.exists() and path.read_bytes() != weights:
            raise Mismatch(
                f"privacy.public {public.folder} has other weights than this run began with; restore them, "
                "or choose another run_dir and count both"
            )
        if not path.exists():
            write_bytes(path, weights)


def _list_networks(settings: config.Config) -> tuple[str, ...]:
    """List the networks of a run with `privacy.end_to_end`."""
    return (VAE, *dict.fromkeys(("generator", settings.model.private_network)))


def _read_weights(public: Run, networks: tuple[str, ...]) -> dict[str, bytes]:
    """Return the content of a safetensors file of each network, the encoder's first."""
    _refuse_unfinished(public)
    steps = list_steps(public.checkpoints("gan"))
    if not steps:
        raise UserError(f"privacy.public {public.folder} has no checkpoint of its GAN; train it again")
    state = checkpoint.load(public.checkpoints("gan"), steps[-1]).state
    weights = {name: safetensors.torch.save(state[name]) for name in networks[1:]}
    return {VAE: public.encoder_weights.read_bytes(), **weights}


def _refuse_unfinished(public: Run) -> None:
    """
    Raises:
        UserError: the folder is no run whose networks are trained.
    """
    if not all(public.record(stage).exists() for stage in ("prepare", "encoder", "gan")):
        raise UserError(
            f"privacy.public {public.folder} is no run whose encoder and GAN are trained; give the run_dir "
            "of one on public data that distgan train has finished"
        )


def _refuse_private(other: config.Config, public: Run) -> None:
    """
    Raises:
        UserError: the run is private itself: its data are not public, and its own first weights may be those
            of a third run, whose series are not looked at here.
    """
    if other.privacy.epsilon is not None:
        extent = "is private end to end" if other.privacy.end_to_end else "has a private bank"
        raise UserError(
            f"privacy.public {public.folder} {extent}, so its data are not public; give a run on public data"
        )


def _refuse_unfit_data(public: Run, run: Run) -> None:
    """
    Raises:
        UserError: both runs are on the same series, or on some that are near copies, whose weights would
            have no noise, or on series of another length or number of channels.
    """
    one, two = (read_record(each.series / MANIFEST, "arrays")["arrays"]["values"] for each in (public, run))
    if one == two:
        raise UserError(
            f"privacy.public {public.folder} is trained on the series of this run without noise; give a run "
            "on public data"
        )
    theirs, mine = (Store.open(each.series) for each in (public, run))
    if (theirs.length, theirs.channels) != (mine.length, mine.channels):
        raise UserError(
            f"privacy.public {public.folder} has series of {theirs.length} x {theirs.channels}, and this run "
            f"of {mine.length} x {mine.channels}; reduce both to the same steps and channels"
        )
    if shared := _count_shared(theirs, mine):
        raise UserError(
            f"privacy.public {public.folder} has {shared} series that are near copies of this run's, and is "
            "trained on them without noise; give a run on other people"
        )


def _count_shared(theirs: Store, mine: Store) -> int:
    """Return the series of `theirs` that are near copies of one of `mine`, under whatever name."""

    def read(rows: np.ndarray) -> np.ndarray:
        values = np.empty((len(rows), mine.length, mine.channels), np.float32)
        first = rows < theirs.num_series
        for store, chosen, before in ((theirs, first, 0), (mine, ~first, theirs.num_series)):
            if chosen.any():
                values[chosen] = store.read_rows_once(rows[chosen] - before)
        return values

    sides = np.repeat([0, 1], [theirs.num_series, mine.num_series])
    pairs = find_near_copies(
        Population(read, sides, mine.length, mine.channels, mine.meta.axis.steps_per_day)
    )
    return len(np.unique(pairs[:, 0]))


def _refuse_other_networks(settings: config.Config, other: config.Config, public: Run) -> None:
    """
    Raises:
        UserError: a setting that the networks' shapes follow from differs.
    """
    mine, theirs = (_list_shapes(each) for each in (settings, other))
    for name in mine:
        if mine[name] != theirs.get(name):
            raise UserError(
                f"privacy.public {public.folder} has {name} {theirs.get(name)}, and this run "
                f"{mine[name]}; give both the same"
            )


def _list_shapes(settings: config.Config) -> dict[str, Any]:
    """List the settings that networks and their conditions follow from, by name."""
    flat = settings.flatten()
    names = [name for name in flat if name.startswith("model.")]
    names += [*ENCODER, "bank.condition_dim", "bank.by"]
    return {name: flat[name] for name in names}
