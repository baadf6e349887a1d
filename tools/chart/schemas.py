"""Fields and types of manifests, by Kubernetes' own schemas."""

import json
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Any

from jsonschema import Draft202012Validator
from manifests import Manifests, place_of
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

VERSION = "1.36"
# Of other makers, so not among these schemas: tools/chart/scaling.py knows their form.
_OTHERS = frozenset({"keda.sh/v1alpha1"})


def fields(manifests: Manifests) -> Iterator[str]:
    """Find fields that Kubernetes doesn't know, and values of a wrong type."""
    for one in manifests.documents:
        version = str(one.get("apiVersion", ""))
        if version in _OTHERS:
            continue
        validator = _validator(str(one["kind"]), version)
        if validator is None:
            yield f"{place_of(one)}: Kubernetes {VERSION} has no {one['kind']} in {version!r}"
            continue
        for error in validator.iter_errors(one):
            path = ".".join(map(str, error.absolute_path))
            yield f"{place_of(one)}: {path or 'document'}: {error.message}"


@cache
def _validator(kind: str, version: str) -> Any:
    """Return what checks manifests of a kind strictly; None where the kind is unknown."""
    group, _, number = version.rpartition("/")
    suffix = f"{group.split('.')[0]}-{number}" if group else number
    name = f"{kind.lower()}-{suffix}.json"
    path = files("kubernetes_validate") / "kubernetes-json-schema" / _folder() / name
    if not path.is_file():
        return None
    schema = json.loads(path.read_text())
    return Draft202012Validator(schema, registry=_registry())


def _folder() -> str:
    return f"v{VERSION}.0-local-strict"


@cache
def _registry() -> Any:
    path = files("kubernetes_validate") / "kubernetes-json-schema" / _folder() / "_definitions.json"
    definitions = Resource.from_contents(json.loads(path.read_text()), DRAFT202012)
    return definitions @ Registry()
