"""Hold a Kubernetes job against the published schema of its kind, as a cluster with strict validation does.

    python tests/integration/clusters/schemas.py ray.io_rayjobs.yaml launch/kubernetes/sweep.yaml
    python tests/integration/clusters/schemas.py kubeflow.org_pytorchjobs.yaml launch/kubernetes/training.yaml

The first file is the kind's CustomResourceDefinition, which KubeRay has in `ray-operator/config/crd/bases/`,
and the Kubeflow training operator in `manifests/base/crds/`.
Ends with 1 if a field is unknown or of another type.
"""

import sys
from pathlib import Path
from typing import Any

import jsonschema
import yaml

IGNORED = ("format", "pattern", "x-kubernetes-validations")  # of Go and of the cluster's own rule language


def read_schema(definition: dict[str, Any], version: str) -> dict[str, Any]:
    """Return the JSON schema of one version of a kind, in which unknown fields are errors.

    Raises:
        SystemExit: the definition has no such version.
    """
    for found in definition["spec"]["versions"]:
        if found["name"] == version:
            schema: dict[str, Any] = refuse_unknown(found["schema"]["openAPIV3Schema"])
            schema["properties"]["metadata"] = {"type": "object"}  # its fields are Kubernetes' own
            return schema
    sys.exit(f"the definition has no version {version}")


def refuse_unknown(node: Any) -> Any:
    """Return a schema without Kubernetes' extensions, and with `additionalProperties: false` where it lists
    the fields of an object.
    """
    if isinstance(node, list):
        return [refuse_unknown(each) for each in node]
    if not isinstance(node, dict):
        return node
    if node.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    schema = {
        name: refuse_unknown(each) for name, each in node.items() if name not in ("properties", *IGNORED)
    }
    if "properties" in node:
        schema["properties"] = {name: refuse_unknown(each) for name, each in node["properties"].items()}
        if not node.get("x-kubernetes-preserve-unknown-fields"):
            schema.setdefault("additionalProperties", False)
    return schema


def main(definition: Path, job: Path) -> None:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # a definition has megabytes
    kind, tree = yaml.load(definition.read_text(), loader), yaml.safe_load(job.read_text())
    if kind["spec"]["names"]["kind"] != tree["kind"]:
        sys.exit(f"{definition} defines {kind['spec']['names']['kind']}, and {job} is a {tree['kind']}")
    group, _, version = tree["apiVersion"].partition("/")
    if kind["spec"]["group"] != group:
        sys.exit(f"{definition} is of {kind['spec']['group']}, and {job} of {group}")
    checker = jsonschema.Draft202012Validator(read_schema(kind, version))
    wrong = [
        f"{'.'.join(map(str, error.path))}: {error.message[:300]}" for error in checker.iter_errors(tree)
    ]
    if wrong:
        sys.exit("\n".join([f"{job} does not fit:", *wrong]))
    print(f"OK: {job} fits {tree['apiVersion']} {tree['kind']}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
