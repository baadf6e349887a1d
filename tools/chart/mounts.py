"""Secrets that the pods of manifests mount as files, and their empty folders."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from manifests import Pod, name_of


@dataclass(frozen=True)
class SecretKey:
    """A key of a Secret."""

    secret: str
    key: str


def secret_files(pod: Pod) -> dict[str, SecretKey]:
    """Return the keys of Secrets that a pod's projected volumes hold, by path in its containers."""
    volumes = {
        volume["name"]: {
            item["path"]: SecretKey(source["secret"]["name"], item["key"])
            for source in volume.get("projected", {}).get("sources", [])
            for item in source.get("secret", {}).get("items", [])
        }
        for volume in pod.spec.get("volumes", [])
    }
    return {
        f"{mount['mountPath']}/{path}": key
        for container in pod.containers
        for mount in container.get("volumeMounts") or []
        for path, key in volumes.get(mount["name"], {}).items()
    }


def mounted(
    variables: dict[str, str], pod: Pod, secrets: Mapping[str, Mapping[str, str]], folder: Path
) -> dict[str, str]:
    """Write the files of a pod into a folder, and return its variables with their places there."""
    place = folder / f"{name_of(pod.owner)}-secrets"
    made = dict(variables)
    for path, key in secret_files(pod).items():
        file = place / Path(path).name
        place.mkdir(mode=0o700, exist_ok=True)
        file.write_text(f"{secrets[key.secret][key.key]}\n")
        made = {name: text.replace(path, str(file)) for name, text in made.items()}
    return made


def with_folders(variables: dict[str, str], pod: Pod, volumes: Path) -> dict[str, str]:
    """Make the empty folders of a pod, and return its variables with their places here.

    A variable that names a folder which the pod doesn't mount leads nowhere, as on its image,
    where nothing else can be written.
    """
    folders = {one["name"] for one in pod.spec.get("volumes", []) if "emptyDir" in one}
    made = dict(variables)
    for mount in pod.containers[0].get("volumeMounts") or []:
        if mount["name"] not in folders or mount["mountPath"] == "/tmp":  # noqa: S108  as here
            continue
        place = volumes / name_of(pod.owner) / mount["name"]
        place.mkdir(parents=True, exist_ok=True)
        for name, text in made.items():
            if text == mount["mountPath"]:
                made[name] = str(place)
    return made
