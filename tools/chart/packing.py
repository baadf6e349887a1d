"""The chart in an archive, as Helm packages it: for a release and for our own checks."""

import gzip
import io
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path

_DEFAULTS = "files/defaults.yaml"


def files_of(chart: Path) -> list[Path]:
    """Return the files of a chart's folder, relative to it; links count as their targets."""
    return sorted(path.relative_to(chart) for path in chart.rglob("*") if path.is_file())


def pack(
    chart: Path,
    archive: Path,
    *,
    names: Iterable[Path] | None = None,
    replaced: Mapping[Path, str] | None = None,
    made: int = 0,
) -> None:
    """Write a chart's archive; the same files make the same archive.

    Args:
        chart: its folder.
        archive: the file to write.
        names: of the files inside, relative to the folder; by default all that are there.
        replaced: texts in the place of files, by name.
        made: seconds since 1970 that all files get as their time.

    Raises:
        ValueError: the values that templates read as defaults are missing or empty, as in a
            checkout without links.
    """
    given = {name: text.encode() for name, text in (replaced or {}).items()}
    contents = {
        name: given[name] if name in given else (chart / name).read_bytes()
        for name in (files_of(chart) if names is None else names)
    }
    values, defaults = (contents.get(Path(name)) for name in ("values.yaml", _DEFAULTS))
    if not values or not defaults or (defaults != values and replaced is None):
        raise ValueError(f"{chart.name}/{_DEFAULTS} has to have what values.yaml has")
    with (
        archive.open("wb") as raw,
        gzip.GzipFile("", "wb", 6, raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as written,
    ):
        for name, content in contents.items():
            entry = tarfile.TarInfo(f"{chart.name}/{name}")
            entry.size, entry.mode, entry.mtime = len(content), 0o644, made
            written.addfile(entry, io.BytesIO(content))
