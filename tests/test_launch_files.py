"""Files for containers: what can be checked without Docker and Kubernetes. They have not been run."""

import configparser
import json
import re
import shlex
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

import distgan
from distgan import config
from tests.helpers.settings import ROOT

DOCKERFILE = ROOT / "launch" / "Dockerfile"
KUBERNETES = sorted((ROOT / "launch" / "kubernetes").glob("*.yaml"))
PINNED = dict(
    line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line
)


def instructions() -> Iterator[tuple[str, str]]:
    text = re.sub(r"\\\n", " ", DOCKERFILE.read_text())
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, _, rest = line.partition(" ")
            yield name, rest.strip()


def find_all(tree: Any, key: str) -> Iterator[Any]:
    """Every value of a key, wherever it stands."""
    if isinstance(tree, dict):
        for name, value in tree.items():
            if name == key:
                yield value
            yield from find_all(value, key)
    elif isinstance(tree, list):
        for value in tree:
            yield from find_all(value, key)


def test_the_image_is_pinned_and_takes_what_is_there() -> None:
    steps = list(instructions())
    known = {"FROM", "ENV", "RUN", "WORKDIR", "COPY", "USER", "ENTRYPOINT", "CMD"}
    assert {name for name, _ in steps} <= known
    (base,) = [rest for name, rest in steps if name == "FROM"]
    assert re.fullmatch(r"nvidia/cuda:\d+\.\d+\.\d+-base-ubuntu\d\d\.\d\d", base)
    for sources in (shlex.split(rest)[:-1] for name, rest in steps if name == "COPY"):
        assert all((ROOT / source).exists() for source in sources)
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    text = " ".join(rest for name, rest in steps if name == "RUN")
    (extras,) = re.findall(r"'\.\[([\w,]+)\]'", text)
    assert set(extras.split(",")) <= set(settings["options.extras_require"])
    assert f"'torch=={PINNED['torch']}'" in text
    python = re.findall(r"python(3\.\d+)", text)[0]
    assert f"Python :: {python}" in settings["metadata"]["classifiers"]
    assert [rest for name, rest in steps if name == "USER"] == ["distgan"]
    assert f"python{python}-dev" in text and re.search(
        r"apt-get install .*\bg\+\+", text
    )  # for torch.compile


def test_who_asks_for_rays_dashboard_installs_it() -> None:
    """Ray refuses `--include-dashboard=true` without ray[default]; KubeRay needs it, and wget."""
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    having = [name for name, needs in settings["options.extras_require"].items() if "ray[default]" in needs]
    assert having == ["dashboard"]
    image = DOCKERFILE.read_text()
    assert re.search(r"apt-get install .*\bwget\b", image)
    dashboards = [*find_all(read(ROOT / "launch" / "kubernetes" / "sweep.yaml"), "include-dashboard")]
    assert dashboards == ["true"] and ",dashboard," in image
    for path in (ROOT / "launch" / "ray-cluster.yaml", ROOT / "launch" / "slurm-ray.sh"):
        (asked,) = re.findall(r"--include-dashboard=(\w+)", path.read_text())
        assert asked == "false" or ",dashboard" in path.read_text()


def test_ray_accepts_its_cluster_file() -> None:
    """By the schema that `ray up` checks it with."""
    jsonschema = pytest.importorskip("jsonschema")
    spec = find_spec("ray")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("Ray is not installed")
    schema = json.loads((Path(spec.submodule_search_locations[0]) / "autoscaler/ray-schema.json").read_text())
    tree = read(ROOT / "launch" / "ray-cluster.yaml")
    jsonschema.validate(tree, schema)
    assert list(jsonschema.Draft7Validator(schema).iter_errors({**tree, "nosuchkey": 1}))


def test_unknown_fields_of_a_job_are_found() -> None:
    """By the check that holds jobs against the published definitions, on a small definition."""
    jsonschema = pytest.importorskip("jsonschema")
    from tests.integration.clusters.schemas import refuse_unknown

    size = {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]}
    labels = {"type": "object", "additionalProperties": {"type": "string"}}
    fields = {
        "size": size,
        "labels": labels,
        "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    }
    pod = {"type": "object", "properties": fields}
    checker = jsonschema.Draft202012Validator(refuse_unknown({"type": "array", "items": pod}))
    assert checker.is_valid([{"size": 3, "labels": {"a": "b"}, "any": {"c": 1}}, {"size": "3Gi"}])
    for wrong in ({"syze": 3}, {"labels": {"a": 1}}, {"size": [3]}):
        assert not checker.is_valid([wrong])


def test_both_kinds_of_job_are_there() -> None:
    kinds = {(tree["apiVersion"], tree["kind"]) for tree in map(read, KUBERNETES)}
    assert kinds == {("kubeflow.org/v1", "PyTorchJob"), ("ray.io/v1", "RayJob")}


def read(path: Path) -> dict[str, Any]:
    tree: dict[str, Any] = yaml.safe_load(path.read_text())
    return tree


@pytest.mark.parametrize("path", KUBERNETES, ids=lambda path: path.name)
def test_pods_are_whole(path: Path) -> None:
    """Mounts name volumes, images have this version's tag, and nothing runs as root."""
    tree = read(path)
    pods = [template["spec"] for template in find_all(tree, "template")]
    pods += [template["spec"] for template in find_all(tree, "submitterPodTemplate")]
    assert pods
    for pod in pods:
        volumes = {volume["name"] for volume in pod["volumes"]}
        for container in pod["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
            assert container["image"] == f"REGISTRY/distgan:{distgan.__version__}"
    assert all(context["runAsNonRoot"] for context in find_all(tree, "securityContext"))
    assert "not run on a cluster yet" in path.read_text()


@pytest.mark.parametrize("path", KUBERNETES, ids=lambda path: path.name)
def test_their_commands_load(path: Path) -> None:
    tree = read(path)
    texts = [*find_all(tree, "entrypoint"), *(text for args in find_all(tree, "args") for text in args)]
    assert texts
    for text in set(texts):
        words = shlex.split(text)
        assert "distgan.train" in words or words[:2] == ["distgan", "sweep"]
        overrides = [word for word in words if re.match(r"[a-z_.]+=", word)]
        settings = config.load(words[words.index("--config") + 1], overrides)
        assert settings.run_dir.startswith("/runs/")


def test_ray_of_the_cluster_is_the_tested_one() -> None:
    (tree,) = [tree for tree in map(read, KUBERNETES) if tree["kind"] == "RayJob"]
    assert tree["spec"]["rayClusterSpec"]["rayVersion"] == PINNED["ray"]
    for env in find_all(tree, "env"):
        found = {each["name"]: each["value"] for each in env}
        assert found["RAY_AUTH_MODE"] == "token" and found["RAY_AUTH_TOKEN_PATH"].startswith("/token/")
