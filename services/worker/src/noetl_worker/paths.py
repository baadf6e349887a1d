"""Lists of paths in settings."""


def absolute_paths(value: object) -> object:
    """Divide a text at its commas; what is no text is left to the field's own check.

    Raises:
        ValueError: a path does not begin with a slash.
    """
    if not isinstance(value, str):
        return value
    paths = tuple(part.strip() for part in value.split(",") if part.strip())
    for path in paths:
        if not path.startswith("/"):
            raise ValueError(f"a path here has to begin with /: {path}")
    return paths
