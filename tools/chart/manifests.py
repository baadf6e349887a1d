"""Rendered manifests, and the questions that all checks ask of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

type Document = dict[str, Any]
"""One manifest. Its form is what the checks are about, so nothing is known of it."""

SCALERS = ("ScaledObject", "HorizontalPodAutoscaler")


@dataclass(frozen=True)
class Pod:
    """The pod of a Deployment or Job."""

    owner: Document
    spec: Document
    labels: dict[str, str]

    @property
    def place(self) -> str:
        """Kind and name of the owner."""
        return place_of(self.owner)

    @property
    def containers(self) -> list[Document]:
        """All containers, those of the start too."""
        return [*self.spec.get("initContainers", []), *self.spec.get("containers", [])]


@dataclass(frozen=True)
class Manifests:
    """Documents to which a chart was rendered.

    Attributes:
        documents: in the order of rendering.
        namespace: that of the release.
        outside: keys of the Secrets that are made before the chart, by name.
        for_tools: variables that the values give to workers, for their tools.
    """

    documents: list[Document]
    namespace: str
    outside: dict[str, set[str]]
    for_tools: frozenset[str] = frozenset()

    def of(self, *kinds: str) -> Iterator[Document]:
        """Return the documents of some kinds."""
        return (one for one in self.documents if one.get("kind") in kinds)

    def names(self, kind: str) -> set[str]:
        """Return the names of the documents of a kind."""
        return {name_of(one) for one in self.of(kind)}

    def pods(self) -> Iterator[Pod]:
        """Return the pods of all Deployments and Jobs."""
        for owner in self.of("Deployment", "Job", "CronJob"):
            spec = owner["spec"]
            if owner["kind"] == "CronJob":
                spec = spec["jobTemplate"]["spec"]
            template = spec["template"]
            yield Pod(owner, template["spec"], template.get("metadata", {}).get("labels", {}))


def parse(rendered: dict[str, str]) -> list[Document]:
    """Return the documents of the files that a chart was rendered to.

    Raises:
        ValueError: a file is no YAML, or a document has no kind.
    """
    found: list[Document] = []
    for path, text in rendered.items():
        if not path.endswith((".yaml", ".yml")):
            continue
        try:
            documents = [one for one in yaml.load_all(text, Loader=_loader()) if one is not None]
        except yaml.YAMLError as error:
            raise ValueError(f"{path}: {error}") from error
        for one in documents:
            if not isinstance(one, dict) or "kind" not in one:
                raise ValueError(f"{path}: a document without a kind")
            found.append(one)
    return found


def _loader() -> Any:
    # The one in C is seven times as quick.
    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def name_of(document: Document) -> str:
    """Return the name of a document."""
    return str(document.get("metadata", {}).get("name", ""))


def place_of(document: Document) -> str:
    """Return kind and name of a document."""
    return f"{document.get('kind')}/{name_of(document)}"


def scaler_targets(manifests: Manifests) -> Iterator[tuple[Document, str]]:
    """Return every autoscaler with the name of the Deployment that it scales."""
    for one in manifests.of(*SCALERS):
        yield one, str(one["spec"].get("scaleTargetRef", {}).get("name", ""))
