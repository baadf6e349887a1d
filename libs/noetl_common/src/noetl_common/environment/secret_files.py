"""Secrets in files, as Kubernetes and Docker mount them: ``<VARIABLE>_FILE`` names the file.

Whoever may inspect a process or its container sees its variables, but not the files that it reads.
"""

from collections.abc import Iterable, Mapping, MutableMapping
from pathlib import Path

from noetl_common.errors import Permanent

_LARGEST_BYTES = 1 << 20
_SUFFIX = "_FILE"


class BadSecretFile(Permanent):
    """A secret can't be read from its file.

    This is not a ``ValueError``, because the settings library would print the input.
    """

    template = "{variable}: {problem}"


def secret_of(environment: Mapping[str, str], *variables: str) -> str | None:
    """Return a secret: the value of one of its variables, or the content of its file.

    Args:
        environment: the variables of the process.
        variables: names of the variables that may hold the secret, in order of precedence.

    Returns:
        The text of the file without line breaks at its end, or None if neither a variable nor a
        file is set. An empty variable counts as not set.

    Raises:
        BadSecretFile: both a variable and a file are set, or the file is not readable, empty,
            larger than 1 MiB or not UTF-8.
    """
    given = [name for name in variables if environment.get(name)]
    files = [f"{name}{_SUFFIX}" for name in variables if environment.get(f"{name}{_SUFFIX}")]
    if not files:
        return environment[given[0]] if given else None
    if len(given) + len(files) > 1:
        both = " and ".join([*given, *files])
        raise BadSecretFile(variable=files[0], problem=f"{both} are set; only one may be")
    try:
        return text_of(Path(environment[files[0]]))
    except ValueError as error:
        raise BadSecretFile(variable=files[0], problem=str(error)) from None


def load_secrets(environment: MutableMapping[str, str], variables: Iterable[str]) -> None:
    """Copy secrets from files into their variables, for programs that read the environment.

    Args:
        environment: is changed: each variable `…_FILE` is replaced by the variable of the secret.
        variables: the variables of the secrets.

    Raises:
        BadSecretFile: see `secret_of`.
    """
    for variable in variables:
        if environment.get(f"{variable}{_SUFFIX}"):
            environment[variable] = secret_of(environment, variable) or ""
            del environment[f"{variable}{_SUFFIX}"]


def text_of(path: Path) -> str:
    """Return the secret in a file, without line breaks at its end.

    Raises:
        ValueError: the file can't be read or holds no valid secret; the text begins with the path.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_BYTES + 1)
        text = content.decode().rstrip("\r\n")
    except OSError as error:
        raise ValueError(f"{path} can't be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise ValueError(f"{path} holds no text") from None
    if len(content) > _LARGEST_BYTES:
        raise ValueError(f"{path} has more than {_LARGEST_BYTES} bytes")
    if not text:
        raise ValueError(f"{path} is empty")
    return text
