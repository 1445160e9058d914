"""A session of Ray: its token, its environment, and a clear line where Ray is absent."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from distgan.errors import UserError
from distgan.run import Run
from distgan.sweep import ray_session
from tests.helpers.processes import PATIENCE
from tests.helpers.settings import ROOT
from tests.helpers.sweeps import RATE


@pytest.mark.parametrize("mode", ["disabled", "k8s"])
def test_ray_without_its_token_is_refused(monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    monkeypatch.setattr(ray_session, "find_spec", lambda name: True)
    monkeypatch.setenv("RAY_AUTH_MODE", mode)
    with pytest.raises(UserError, match=f"RAY_AUTH_MODE={mode}"):
        ray_session.require_ray()


def test_without_ray_one_line_names_the_extra(tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump({"sweep": {"space": RATE}}))
    hide = "import sys; sys.modules['ray'] = None; sys.argv[0] = 'distgan'; sys.path.insert(0, '.');"
    code = f"{hide} from distgan.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "sweep", "--config", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=PATIENCE)
    assert done.returncode == 2
    assert done.stderr == "distgan: a sweep needs ray; install it with pip install 'distgan[sweep]'\n"


def test_the_environment_is_as_before_and_a_killed_sweeps_files_are_removed(tmp_path: Path) -> None:
    before = dict(os.environ)
    home = Run(tmp_path / "sweep")
    with ray_session.prepare_environment(home, None) as first:
        assert first is not None
        assert oct((first / "token").stat().st_mode)[-3:] == "600"
        (home.folder / "ray" / "kept.json").write_text((home.folder / "ray" / "temporary.json").read_text())
        (first / "socket").touch()
    assert not first.exists() and dict(os.environ) == before
    first.mkdir()
    (home.folder / "ray" / "kept.json").rename(home.folder / "ray" / "temporary.json")  # as a kill leaves it
    with ray_session.prepare_environment(home, None) as second:
        assert not first.exists() and second != first
