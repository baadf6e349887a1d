"""Take out of libraries and programs the parts that are not loaded: symbols for debuggers.

    strip.py FOLDER

An ELF file is loaded by its segments; what lies behind the last of them are sections that only
linkers and debuggers read. Written here because the base image has no `strip`, and installing one
would make every build depend on a mirror of Debian.
"""

import os
import struct
import sys
from pathlib import Path

_MAGIC = b"\x7fELF\x02\x01"  # 64 bit, little endian
_HEADER_BYTES = 64
# Of the header: where segments are described, where sections are, and how many of which size.
_TABLES = struct.Struct("<QQ")
_TABLES_AT = 32
_COUNTS = struct.Struct("<HHHHH")
_COUNTS_AT = 54
_SEGMENT = struct.Struct("<IIQQQQQQ")


def strip(path: Path) -> int:
    """Cut off the bytes behind the last segment of a file; return their number.

    Files of another kind are left as they are.
    """
    before = path.stat().st_size
    with path.open("rb+") as file:
        header = bytearray(file.read(_HEADER_BYTES))
        if len(header) < _HEADER_BYTES or not header.startswith(_MAGIC):
            return 0
        segments_at, _ = _TABLES.unpack_from(header, _TABLES_AT)
        segment_bytes, segments, *_ = _COUNTS.unpack_from(header, _COUNTS_AT)
        if segments == 0 or segment_bytes != _SEGMENT.size:
            return 0  # an object file
        file.seek(segments_at)
        described = file.read(segment_bytes * segments)
        ends = [
            offset + size
            for _, _, offset, _, _, size, _, _ in _SEGMENT.iter_unpack(described)
        ]  # fmt: skip
        end: int = max(*ends, segments_at + len(described))
        if end >= before:
            return 0
        _TABLES.pack_into(header, _TABLES_AT, segments_at, 0)
        _COUNTS.pack_into(header, _COUNTS_AT, segment_bytes, segments, 0, 0, 0)
        file.seek(0)
        file.write(header)
        file.truncate(end)
        return before - end


def main(folder: Path) -> None:
    """Strip every file of a folder."""
    saved = 0
    for place, _, names in os.walk(folder):
        for name in names:
            path = Path(place, name)
            if not path.is_symlink():
                saved += strip(path)
    sys.stdout.write(f"{saved // 1_000_000} MB less\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
