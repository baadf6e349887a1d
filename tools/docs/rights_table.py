"""The table of roles and rights in the page about access, from the contract."""

from pathlib import Path

from noetl_contract.access.rights import COMMAND_RIGHTS, ROLE_RIGHTS, Right

NAME = "docs/access.md"
_BEGIN = "<!-- rights: generated from the contract by tools/docs -->"
_END = "<!-- end of rights -->"


def page(root: Path) -> str:
    """Return the page with its table anew.

    Raises:
        ValueError: the lines around the table are missing.
    """
    text = (root / NAME).read_text()
    before, found, rest = text.partition(_BEGIN)
    _, ended, after = rest.partition(_END)
    if not found or not ended:
        raise ValueError(f"{NAME} lacks the lines around its table of rights")
    return f"{before}{_BEGIN}\n{table()}\n{_END}{after}"


def table() -> str:
    """Return a row for each right, a column for each role and one for the capability."""
    roles = list(ROLE_RIGHTS)
    lines = [
        f"| right | {' | '.join(roles)} | capability¹ |",
        f"|---|{'---|' * (len(roles) + 1)}",
    ]
    for right in Right:
        if right is Right.PUBLIC:
            continue
        holders = [*(ROLE_RIGHTS[role] for role in roles), COMMAND_RIGHTS]
        marks = " | ".join("✓" if right in held else "" for held in holders)
        lines.append(f"| `{right}` | {marks} |")
    return "\n".join(lines)
