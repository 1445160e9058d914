"""Experiment trackers through Accelerate's tracking interface: TensorBoard, W&B, MLflow, Comet ML and Aim.

A tracker receives the figures of a training's report lines, and a few settings: never ids, paths or real
series. Pictures of generated series stay on this machine unless `engine.tracker_pictures` says otherwise,
since nothing has attacked them yet.
"""

import io
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker
from PIL import Image

from distgan import config
from distgan.errors import UserError, is_disk_full, writing
from distgan.files import read_record, write_json
from distgan.progress import show_warning
from distgan.run import Run

log = logging.getLogger(__name__)

TENSORBOARD = "tensorboard"
EVENTS = "events.out.tfevents"  # beginning of the names of TensorBoard's files
WRITER_THREAD = "_AsyncWriterThread"  # class of TensorBoard's thread


@dataclass(frozen=True)
class Service:
    """One tracker, and how it resumes an earlier run.

    Attributes:
        package: what pip installs, and Python imports.
        known: key of the argument that names an earlier run.
        identify: the id of a started tracker's run.
        offline: the setting of its own that needs no server.
        arguments: further arguments of the tracker's constructor, of (name of the run, its folder of logs).
    """

    package: str
    known: str
    identify: Callable[[Any], str]
    offline: str
    arguments: Callable[[str, Path], dict[str, Any]] = lambda name, folder: {}


def _make_wandb_arguments(name: str, folder: Path) -> dict[str, Any]:
    """Return the arguments that keep W&B from sending the command line, the host, git's state and the
    console: paths and names.
    """
    settings = import_module("wandb").Settings(
        console="off", disable_git=True, disable_code=True, x_disable_meta=True, x_save_requirements=False
    )
    return {"name": name, "dir": str(folder), "resume": "allow", "settings": settings}


def _make_mlflow_arguments(name: str, folder: Path) -> dict[str, Any]:
    """Return the arguments that keep MLflow from sending the name of the user and the path of the program."""
    named = dict.fromkeys(("user", "source.name"), "distgan")
    return {"run_name": name, "tags": {f"mlflow.{key}": value for key, value in named.items()}}


def _make_comet_arguments(name: str, folder: Path) -> dict[str, Any]:
    """Return the arguments that keep Comet from sending command line, console, host, packages, files of code,
    git's state, and what it finds in other libraries.
    """
    off = dict.fromkeys(NOT_FOR_COMET, False)
    config = import_module("comet_ml").ExperimentConfig(auto_output_logging=False, **off)
    return {"mode": "get_or_create", "experiment_config": config}


NOT_FOR_COMET = (
    "log_code",
    "log_graph",
    "parse_args",
    "log_git_metadata",
    "log_git_patch",
    "log_env_details",
    "log_env_gpu",
    "log_env_host",
    "log_env_cpu",
    "log_env_network",
    "log_env_disk",
    "auto_param_logging",
    "auto_metric_logging",
    "auto_log_co2",
)
SERVICES = {
    "wandb": Service("wandb", "id", lambda run: str(run.id), "WANDB_MODE=offline", _make_wandb_arguments),
    "mlflow": Service(
        "mlflow",
        "run_id",
        lambda run: str(run.info.run_id),
        "MLFLOW_TRACKING_URI=sqlite:///PATH",
        _make_mlflow_arguments,
    ),
    "comet_ml": Service(
        "comet_ml",
        "experiment_key",
        lambda run: str(run.get_key()),
        "COMET_START_ONLINE=false",
        _make_comet_arguments,
    ),
    "aim": Service(
        "aim",
        "run_hash",
        lambda run: str(run.hash),
        "engine.trackers=[tensorboard]",
        lambda name, folder: {"logging_dir": str(folder), "capture_terminal_logs": False},
    ),
}


def refuse_absent(names: Sequence[str]) -> None:
    """
    Raises:
        UserError: the package of a tracker is not installed.
    """
    for name in names:
        package = SERVICES[name].package if name in SERVICES else TENSORBOARD
        if find_spec(package) is None:
            rest = ",".join(other for other in names if other != name)
            raise UserError(
                f"engine.trackers lists {name}, which is not installed; run pip install {package}, or set "
                f"engine.trackers=[{rest}]"
            )


class Trackers:
    """The trackers of one training; only rank 0 has any.

    Args:
        step: updates already done. A step that a tracker has received before, of a run that was cut off, is
            not sent again; TensorBoard hides it and shows the new one.
        last: the last step in the training's own file of metrics, before what is cut off was removed.

    Raises:
        UserError: a tracker is not installed, or cannot start.
    """

    def __init__(self, run: Run, stage: str, settings: config.Engine, *, step: int, last: int) -> None:
        refuse_absent(settings.trackers)
        self.folder, self.pictures = run.logs / stage, settings.tracker_pictures
        self.name = f"{run.folder.resolve().name}-{stage}"
        self.board: BoardTracker | None = None
        self.services: dict[str, GeneralTracker] = {}
        self.sent = 0  # the last step that services have had
        if TENSORBOARD in settings.trackers:
            self.board = BoardTracker(self.folder, step + 1)
        wanted = [name for name in settings.trackers if name in SERVICES]
        if wanted:
            self._start_services(wanted, run.trackers(stage), settings.tracker_project, (step, last))

    def _start_services(
        self, wanted: Sequence[str], record: Path, project: str, steps: tuple[int, int]
    ) -> None:
        step, last = steps
        old: dict[str, Any] = {"ids": {}, "sent": 0}
        if step and record.exists():
            old = read_record(record, "ids", "sent")
        self.sent = max(last, old["sent"]) if step else 0
        ids = dict(old["ids"])
        for name in wanted:
            self.services[name] = start_service(name, project, (self.name, self.folder), ids.get(name))
            ids[name] = SERVICES[name].identify(self.services[name].tracker)
        write_json(record, {"ids": ids, "sent": self.sent})

    def store_settings(self, settings: Mapping[str, Any]) -> None:
        """Send flat settings, without names of people, files or columns, to the services."""
        if not self.sent:
            self._send("settings", lambda name, tracker: tracker.store_init_configuration(dict(settings)))

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """Send the figures of one report line."""
        if self.board is not None:
            self.board.log(step, numbers)
        if step > self.sent:
            self._send(f"step {step}", lambda name, tracker: tracker.log(dict(numbers), step=step))

    def log_figures(self, step: int, figures: Mapping[str, Any]) -> None:
        """Send matplotlib figures by name: to TensorBoard, and to a service that takes pictures if asked."""
        pictures = {name: _draw_pixels(figure) for name, figure in figures.items()}
        if self.board is not None:
            self.board.log_figures(step, pictures)
        if self.pictures and step > self.sent:
            self._send(
                f"step {step}",
                lambda name, tracker: _send_pictures(name, tracker, step, pictures, figures),
            )

    def close(self) -> None:
        if self.board is not None:
            self.board.close()
        self._send("the end", lambda name, tracker: tracker.finish())
        self.services = {}

    def _send(self, what: str, send: Callable[[str, GeneralTracker], Any]) -> None:
        """Call each service. One that fails is left out from here on, with a warning: a server that is down
        for an hour ends no training of a week.

        Raises:
            OSError: the disk is full.
        """
        for name, tracker in list(self.services.items()):
            try:
                send(name, tracker)
            except Exception as error:
                if isinstance(error, OSError) and is_disk_full(error):
                    raise
                del self.services[name]
                words = (
                    f"engine.trackers {name} failed at {what} ({_shorten_error(error)}) and gets nothing "
                    "more until training is resumed; metrics.jsonl has all figures"
                )
                log.warning(words)
                show_warning(words)


def takes_pictures(settings: config.Engine) -> bool:
    """Return whether any tracker takes pictures, which are slow to draw."""
    return TENSORBOARD in settings.trackers or bool(settings.trackers and settings.tracker_pictures)


def start_service(name: str, project: str, place: tuple[str, Path], known: str | None) -> GeneralTracker:
    """Start a tracker of `SERVICES` on a new run, or on the run with the id `known`.

    Args:
        place: the name of the run, and its folder of logs.

    Raises:
        UserError: it cannot start, for want of a key or a server.
    """
    service = SERVICES[name]
    with writing(place[1]):
        place[1].mkdir(parents=True, exist_ok=True)
    try:
        arguments = service.arguments(*place) | ({} if known is None else {service.known: known})
        tracker: GeneralTracker = LOGGER_TYPE_TO_CLASS[name](project, **arguments)
        tracker.start()
    except Exception as error:
        raise UserError(
            f"engine.trackers {name} cannot start ({_shorten_error(error)}); set {service.offline} to work "
            "without a server, give its key and address, or take it out of engine.trackers"
        ) from error
    return tracker


def _shorten_error(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _draw_pixels(figure: Any) -> np.ndarray:
    """Return a matplotlib figure as uint8 [height, width, 3]."""
    png = io.BytesIO()
    figure.savefig(png, format="png")
    return np.asarray(Image.open(png).convert("RGB"))


def _send_pictures(
    name: str, tracker: Any, step: int, pictures: Mapping[str, np.ndarray], figures: Mapping[str, Any]
) -> None:
    """Send pictures in the way of the given tracker: Accelerate's trackers differ."""
    if name == "wandb":
        tracker.log_images({title: [picture] for title, picture in pictures.items()}, step=step)
    elif name == "mlflow":
        for title, figure in figures.items():
            tracker.log_figure(figure, f"{title}-{step}.png")
    elif name == "comet_ml":
        for title, picture in pictures.items():
            tracker.tracker.log_image(picture, name=title, step=step)
    else:
        tracker.log_images(dict(pictures), step=step)


# ------------------------------------------------------------------------------------------------ TensorBoard


class BoardTracker:
    """TensorBoard's files in a run folder, by Accelerate's tracker of it.

    Args:
        step: events of it and later ones, of a run that was cut off, are hidden.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self.folder = folder
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            wait_for_later_name(folder)
            with quiet_writer_thread():
                self.tracker = LOGGER_TYPE_TO_CLASS[TENSORBOARD](
                    folder.name, logging_dir=str(folder.parent), purge_step=step
                )
                self.tracker.start()

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        with writing(self.folder), quiet_writer_thread():
            self.tracker.log(dict(numbers), step=step)

    def log_figures(self, step: int, pictures: Mapping[str, np.ndarray]) -> None:
        """Write pictures by name: uint8 [height, width, 3]."""
        with writing(self.folder), quiet_writer_thread():
            stacks = {name: picture[None] for name, picture in pictures.items()}
            self.tracker.log_images(stacks, step=step, dataformats="NHWC")
            self.tracker.tracker.flush()

    def close(self) -> None:
        with writing(self.folder), quiet_writer_thread():
            self.tracker.finish()


def wait_for_later_name(folder: Path) -> None:
    """Wait, less than a second, until a new file of events sorts behind all others.

    TensorBoard names its files by the second, and reads them in the order of their names: hidden events must
    be in an earlier file.
    """
    taken = {path.name.split(".")[3] for path in folder.glob(f"{EVENTS}.*")}
    while f"{int(time.time()):010d}" in taken:
        time.sleep(0.02)


@contextmanager
def quiet_writer_thread() -> Iterator[None]:
    """Suppress the traceback of TensorBoard's writer thread; the error is raised in the calling thread."""
    before = threading.excepthook

    def report(found: Any) -> None:
        if type(found.thread).__name__ != WRITER_THREAD:
            before(found)

    threading.excepthook = report
    try:
        yield
    finally:
        threading.excepthook = before
