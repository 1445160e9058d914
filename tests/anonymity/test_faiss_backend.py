"""faiss: its device, its builds, its kernels."""

import os
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from distgan.anonymity import faiss_backend
from distgan.anonymity.faiss_backend import choose_device
from distgan.errors import UserError
from tests.helpers.points import cluster, mixture


def test_the_device_is_checked_and_reported() -> None:
    import faiss

    assert cluster(mixture(50), 2, device="cpu").device.startswith("cpu (")
    beyond = f"cuda:{faiss.get_num_gpus()}"
    with pytest.raises(UserError, match=f"{beyond} is not available: faiss sees {faiss.get_num_gpus()} GPUs"):
        choose_device(beyond)
    with pytest.raises(UserError, match="unknown"):
        choose_device("tpu")


@pytest.mark.gpu
def test_a_gpu_finds_what_the_cpu_finds() -> None:
    import faiss

    if "GPU" not in faiss.get_compile_options() or not faiss.get_num_gpus():
        pytest.skip("faiss sees no GPU")
    points = mixture(5000)
    on_gpu, on_cpu = (cluster(points, 20, device=device) for device in ("cuda:0", "cpu"))
    assert on_gpu.device == "cuda:0 (faiss)"
    assert on_gpu.inertia == pytest.approx(on_cpu.inertia, rel=0.01)


@pytest.fixture
def unchecked() -> Iterator[None]:
    faiss_backend.import_faiss.cache_clear()
    yield
    faiss_backend.import_faiss.cache_clear()


@pytest.mark.usefixtures("unchecked")
def test_two_builds_of_faiss_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("cpu", "gpu"):
        folder = tmp_path / f"faiss_{name}-1.15.1.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: faiss-{name}\nVersion: 1.15.1\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=r"both installed.*pip uninstall -y faiss-cpu faiss-gpu"):
        choose_device()


@pytest.mark.usefixtures("unchecked")
def test_an_empty_shell_of_faiss_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", types.ModuleType("faiss"))
    with pytest.raises(UserError, match=r"another build was removed.*pip uninstall"):
        choose_device()


@pytest.mark.usefixtures("unchecked")
def test_absent_faiss_names_the_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(UserError, match=r"distgan\[cpu\].*distgan\[gpu\]"):
        choose_device()


def test_faiss_multiplies_with_the_kernels_of_this_processor() -> None:
    """Its wheel's OpenBLAS takes newer processors for a Pentium 4; numpy's own says what this one is."""
    code = """
from distgan.anonymity import faiss_backend
import threadpoolctl
faiss_backend.import_faiss()
for library in threadpoolctl.threadpool_info():
    print(library.get("architecture"), "faiss" in library["filepath"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found = [line.split() for line in done.stdout.splitlines()]
    theirs = {kernels for kernels, of_faiss in found if of_faiss == "True" and kernels != "None"}
    newer = {kernels for kernels, of_faiss in found if of_faiss == "False"} & set(faiss_backend.KERNELS)
    if not theirs or not newer:
        pytest.skip("faiss or numpy multiplies with another library than OpenBLAS")
    assert theirs == {faiss_backend.KERNELS[kernels] for kernels in newer}


def test_a_choice_of_kernels_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(faiss_backend.CHOICE_OF_KERNELS, "Nehalem")
    with faiss_backend.use_right_kernels():
        assert os.environ[faiss_backend.CHOICE_OF_KERNELS] == "Nehalem"
    assert os.environ[faiss_backend.CHOICE_OF_KERNELS] == "Nehalem"


def test_few_points_are_compared_by_matrix_products() -> None:
    """faiss from 1.15 on compares fewer than 128,000 numbers pair by pair."""
    settings = faiss_backend.import_faiss().cvar
    before = settings.distance_compute_blas_threshold
    with pytest.raises(KeyError), faiss_backend.use_matrix_products():
        assert settings.distance_compute_blas_threshold == faiss_backend.FEWEST_PRODUCTS
        raise KeyError
    assert settings.distance_compute_blas_threshold == before
    rng = np.random.default_rng(0)
    points, centroids = (rng.standard_normal((n, 4)).astype(np.float32) for n in (500, 40))
    distances = ((points[:, None].astype(np.float64) - centroids) ** 2).sum(2)
    found = faiss_backend.find_nearest_centroid(points, centroids)
    np.testing.assert_array_equal(found, distances.argmin(1))
    assert settings.distance_compute_blas_threshold == before


def test_neighbours_by_lists_do_not_depend_on_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    points = np.random.default_rng(0).standard_normal((4000, 16)).astype(np.float32)
    monkeypatch.setattr(faiss_backend, "EXACT_NEIGHBOURS", 1000)
    monkeypatch.setattr(faiss_backend, "POINTS_PER_LIST", 256)
    found = []
    for block in (300, 8192):
        monkeypatch.setattr(faiss_backend, "QUERIES_PER_BLOCK", block)
        found.append(faiss_backend.find_neighbours(points, 5))
    for one, other in zip(*found):
        np.testing.assert_array_equal(one, other)
    squares, places = found[0]
    apart = points[:, None] - points[places]
    np.testing.assert_allclose(squares, np.square(apart).sum(axis=2), rtol=1e-5)
    missing = np.where(np.arange(5) % 2 == 0, places[:7], -1)
    squares = faiss_backend._compute_squares(points, points[:7], missing)
    assert np.isinf(squares[:, 1::2]).all()
    np.testing.assert_allclose(squares[:, ::2], np.square(apart[:7, ::2]).sum(axis=2), rtol=1e-5)
