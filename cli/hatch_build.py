"""Puts the migrations, which live at the top of the repository, into the built package."""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class MigrationsHook(BuildHookInterface):  # type: ignore[type-arg]  # generic only for type checkers
    """Adds the files to a real build; an editable install reads them where they are."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version != "editable":
            build_data["force_include"]["../migrations"] = "noetl/migrations"
