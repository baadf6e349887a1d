"""Fields and types of manifests, by Kubernetes' own schemas."""

import json
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

from jsonschema import Draft202012Validator
from manifests import Manifests, place_of
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

VERSIONS = ("1.29", "1.36")
"""The oldest that the chart says it works with, and one of today."""
# Of other makers, so not among these schemas: tools/chart/scaling.py knows their form.
_OTHERS = frozenset({"keda.sh/v1alpha1"})


def fields(manifests: Manifests) -> Iterator[str]:
    """Find fields that Kubernetes doesn't know, and values of a wrong type."""
    for one in manifests.documents:
        version = str(one.get("apiVersion", ""))
        if version in _OTHERS:
            continue
        for kubernetes in VERSIONS:
            validator = _validator(kubernetes, str(one["kind"]), version)
            if validator is None:
                yield f"{place_of(one)}: {kubernetes} has no {one['kind']} in {version!r}"
                continue
            for error in validator.iter_errors(one):
                path = ".".join(map(str, error.absolute_path))
                yield f"{place_of(one)}: {path or 'document'}: {error.message} ({kubernetes})"


@cache
def _validator(kubernetes: str, kind: str, version: str) -> Any:
    """Return the validator of manifests of a kind; None where the kind is unknown."""
    group, _, number = version.rpartition("/")
    suffix = f"{group.split('.')[0]}-{number}" if group else number
    path = _folder(kubernetes) / f"{kind.lower()}-{suffix}.json"
    if not path.is_file():
        return None
    return Draft202012Validator(json.loads(path.read_text()), registry=_registry(kubernetes))


def _folder(kubernetes: str) -> Traversable:
    schemas = files("kubernetes_validate") / "kubernetes-json-schema"
    return schemas / f"v{kubernetes}.0-local-strict"


@cache
def _registry(kubernetes: str) -> Any:
    path = _folder(kubernetes) / "_definitions.json"
    definitions = Resource.from_contents(json.loads(path.read_text()), DRAFT202012)
    return definitions @ Registry()
