"""Files of a built web UI, read once at the start; no other file is served."""

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

UI = "/ui"
"""The path prefix of the UI."""
ENV_FILE = "env-config.js"
"""The script in which such a UI reads its settings; it is made here."""

_MOST_FILES = 5000
_MOST_BYTES = 64 << 20
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".gif": "image/gif",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".map": "application/json",
    ".mjs": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".ttf": "font/ttf",
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
}
_REFERENCE = re.compile(r"""(\b(?:src|href)\s*=\s*)(["'])(/|\./|)([^"':#?/][^"':#?]*)""")
_HEAD = re.compile(r"<head[^>]*>", re.IGNORECASE)
_INLINE = re.compile(r"<script(?![^>]*\bsrc\b)[^>]*>(.*?)</script>", re.IGNORECASE | re.DOTALL)
# `index-BxKz91Qa.js`, `main.04eb0c9a.css`: another content has another name.
_HASHED = re.compile(r"[-.](?=[A-Za-z_-]*[0-9])[A-Za-z0-9_-]{8,}\.[a-z0-9]+\Z")


@dataclass(frozen=True, slots=True)
class UiFile:
    """A file with its headers for browsers."""

    content: bytes
    media_type: str
    etag: str
    is_fixed: bool

    @classmethod
    def of(cls, name: str, content: bytes) -> "UiFile":
        """Describe a content by its name."""
        return cls(
            content,
            _TYPES.get(Path(name).suffix.lower(), "application/octet-stream"),
            f'"{hashlib.sha256(content).hexdigest()[:32]}"',
            _HASHED.search(name) is not None,
        )


@dataclass(frozen=True, slots=True)
class BuiltUi:
    """A built UI.

    Attributes:
        files: by their paths below its folder, without the page.
        page: its only page.
        is_rooted: it was built to lie at `/`, so its own addresses begin there.
        script_hashes: of the scripts within the page, as a policy names them.
    """

    files: Mapping[str, UiFile]
    page: UiFile
    is_rooted: bool
    script_hashes: tuple[str, ...]


def read_ui(folder: Path) -> BuiltUi:
    """Read a folder that a build has made.

    Raises:
        ValueError: it has no page, or is too large; the text names the setting.
    """
    root = folder.resolve()
    files: dict[str, UiFile] = {}
    size = 0
    for name, path in _listed(root):
        size += path.stat().st_size
        if len(files) >= _MOST_FILES or size > _MOST_BYTES:
            text = (
                f"NOETL_UI_DIR: {folder} has more than {_MOST_FILES} files or {_MOST_BYTES} bytes"
            )
            raise ValueError(text)
        files[name] = UiFile.of(name, path.read_bytes())
    page = files.pop("index.html", None)
    if page is None:
        raise ValueError(f"NOETL_UI_DIR: {folder} has no index.html: name the folder of the build")
    return _built(files, page.content.decode("utf-8", "replace"))


def _listed(root: Path) -> Iterator[tuple[str, Path]]:
    """Yield the files below a folder; hidden ones and links that lead out of it are left out."""
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root)
        is_hidden = any(part.startswith(".") for part in name.parts)
        if not is_hidden and path.is_file() and path.resolve().is_relative_to(root):
            yield name.as_posix(), path


def _built(files: Mapping[str, UiFile], html: str) -> BuiltUi:
    is_rooted = False

    def moved(found: re.Match[str]) -> str:
        """Rewrite an address of a file to one below `/ui`."""
        nonlocal is_rooted
        before, quote, start, name = found.groups()
        if name not in files and name != ENV_FILE:
            return found[0]
        is_rooted = is_rooted or start == "/"
        return f"{before}{quote}{UI}/{name}"

    html = _REFERENCE.sub(moved, html)
    if ENV_FILE not in html:
        script = f'<script src="{UI}/{ENV_FILE}"></script>'
        html = _HEAD.sub(lambda found: found[0] + script, html, count=1)
    digests = (hashlib.sha256(one.encode()).digest() for one in _INLINE.findall(html) if one)
    hashes = tuple(f"'sha256-{base64.b64encode(one).decode()}'" for one in digests)
    return BuiltUi(files, UiFile.of("index.html", html.encode()), is_rooted, hashes)
