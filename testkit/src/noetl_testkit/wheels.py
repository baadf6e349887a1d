"""Make wheels, and source packages whose build would leave a mark."""

import base64
import hashlib
import io
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path


def make_wheel(
    folder: Path,
    name: str,
    version: str,
    *,
    files: Mapping[str, str] | None = None,
    requires: Sequence[str] = (),
) -> Path:
    """Write a wheel of pure Python.

    Args:
        folder: the index.
        name: of the package, and of its module.
        version: of the package; the module has it as ``VERSION``.
        files: more files, or another text of the module.
        requires: what the package needs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name}-{version}.dist-info"
    metadata = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}"]
    metadata += [f"Requires-Dist: {one}" for one in requires]
    content = {
        f"{name}.py": f'VERSION = "{version}"\n',
        **(files or {}),
        f"{info}/METADATA": "\n".join(metadata) + "\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = [f"{path},sha256={_digest(text)},{len(text)}" for path, text in content.items()]
    content[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,"]) + "\n"
    wheel = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        for path, text in content.items():
            file.writestr(path, text)
    return wheel


def make_source(folder: Path, name: str, version: str, *, mark: Path) -> Path:
    """Write a package without a wheel; its build makes the file ``mark``."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        "setup.py": f"open({str(mark)!r}, 'w').close()\n"
        f"from setuptools import setup\nsetup(name={name!r}, version={version!r})\n",
    }
    package = folder / f"{name}-{version}.tar.gz"
    with tarfile.open(package, "w:gz") as file:
        for path, text in content.items():
            member = tarfile.TarInfo(f"{name}-{version}/{path}")
            member.size = len(text)
            file.addfile(member, io.BytesIO(text.encode()))
    return package


def _digest(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")
