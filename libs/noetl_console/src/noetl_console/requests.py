"""Requests and answers of pages."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class PageRequest:
    """A request for a page, or a form that was sent.

    Attributes:
        path: of the page, with its query.
        names: parts of the path, by name.
        query: the last value of each parameter.
        form: all values of each field of a form.
        may_change: whether this console has actions.
        has_login: whether the caller came with a login that can be ended.
        is_partial: whether a script asks for the changing part of the page only.
    """

    path: str
    names: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    form: Mapping[str, Sequence[str]] = field(default_factory=dict)
    may_change: bool = True
    has_login: bool = False
    is_partial: bool = False

    def field(self, name: str) -> str:
        """Return the last value of a form's field; empty if there is none."""
        values = self.form.get(name)
        return values[-1] if values else ""

    @property
    def once(self) -> str | None:
        """Return a key that is the same when a form is sent again as it was, by a second click.

        None for a form without the field that the page gave it.
        """
        if not self.field("once"):
            return None
        sent = repr((self.path, sorted((name, *self.form[name]) for name in self.form)))
        return f"console:{hashlib.sha256(sent.encode('utf-8', 'replace')).hexdigest()}"


@dataclass(frozen=True, slots=True)
class Page:
    """A page: a template and the values that it shows.

    Attributes:
        template: its file.
        shown: values by the names of the template.
        title: of the window.
        status: HTTP status.
        part: template of the changing part, where a script may ask for it alone.
        is_same: whether nothing has changed since what the script has.
        is_stale: whether the script has to ask for the whole page.
        longest_value: characters of one value; all together are bounded besides.
    """

    template: str
    shown: Mapping[str, object]
    title: str
    status: int = 200
    part: str | None = None
    is_same: bool = False
    is_stale: bool = False
    longest_value: int = 20_000


@dataclass(frozen=True, slots=True)
class Redirect:
    """Go to another page of the console; ``token`` begins a login, an empty one ends it."""

    to: str
    token: str | None = None


class BadField(Exception):
    """A form's field can't be taken.

    Attributes:
        text: what is wrong, for people; names the field.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text
