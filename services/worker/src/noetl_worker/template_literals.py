"""Escape values (a password with `{{` in it) so that rendering returns them unchanged.

A tool renders its whole configuration. A password that happens to contain template marks would
be run as a template; instead it becomes one that yields exactly this text.
"""

from noetl_contract.json import Json


def is_template(text: str) -> bool:
    """Tell whether a text counts as a template by the worker's rules."""
    return "{{" in text or "{%" in text


def literal(value: Json) -> Json:
    """Return a template that renders to exactly this value."""
    if isinstance(value, str):
        return f'{{{{ "{_escaped(value)}" | tojson }}}}' if is_template(value) else value
    if isinstance(value, dict):
        return {key: literal(item) for key, item in value.items()}
    if isinstance(value, list):
        return [literal(item) for item in value]
    return value


def _escaped(text: str) -> str:
    return "".join(
        char
        if char.isascii() and char.isprintable() and char not in '"\\{}%#'
        else "".join(f"\\u{unit:04x}" for unit in _utf16(char))
        for char in text
    )


def _utf16(char: str) -> tuple[int, ...]:
    data = char.encode("utf-16-be", "surrogatepass")
    return tuple(int.from_bytes(data[start : start + 2]) for start in range(0, len(data), 2))
