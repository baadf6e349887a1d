"""The header of a script that names its requirements (PEP 723)."""

import re
import tomllib
from typing import Final

from noetl_contract.json import JsonObject

_OPEN: Final = "# /// script"
# As PEP 723 has it: the block ends at the last line `# ///` of the comment that begins with it.
_BLOCK: Final = re.compile(
    r"(?m)^# /// (?P<type>[a-zA-Z0-9-]+)[ \t\r]*$\s(?P<content>(^#(| .*)$\s)+)^# ///[ \t\r]*$"
)


class BadHeader(ValueError):
    """The header of a script can't be read."""


def script_header(code: str) -> JsonObject | None:
    """Return the header of a script; None where it has none.

    Raises:
        BadHeader: there are two, it is not closed, or it is no TOML.
    """
    if _OPEN not in code:
        return None
    text = code if code.endswith("\n") else f"{code}\n"
    blocks = [found for found in _BLOCK.finditer(text) if found["type"] == "script"]
    if not blocks:
        is_line = any(line.rstrip() == _OPEN for line in code.splitlines())
        if is_line:
            raise BadHeader("the header `# /// script` is not closed by a line `# ///`")
        return None
    if len(blocks) > 1:
        raise BadHeader("the script has two headers `# /// script`")
    lines = blocks[0]["content"].splitlines()
    toml = "\n".join(line[2:] if line.startswith("# ") else line[1:] for line in lines)
    try:
        return tomllib.loads(toml)
    except tomllib.TOMLDecodeError as error:
        raise BadHeader(f"the header `# /// script` is no TOML: {error}") from error
