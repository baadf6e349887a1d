"""Base class of settings, with their sources: environment variables and files of secrets."""

import os
import re
from typing import Any, get_args

from noetl_contract.http.system.state import SettingInEffect, Source
from pydantic import AliasChoices, SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from noetl_common.environment.secret_files import secret_of

# User and password in an address, up to its last "@", because a password may contain "@" unencoded.
_LOGIN = re.compile(r"//(?:(?!://)\S)*@")
# The id of an access key, which cloud libraries require as plain text, is half of a login.
_SECRET_NAMES = frozenset({"aws_access_key_id"})


def is_in_files(name: str, fields: dict[str, FieldInfo]) -> bool:
    """Return whether a file may hold a setting: a secret that has no setting `…_file`."""
    kind = fields[name].annotation
    is_secret = kind is SecretStr or SecretStr in get_args(kind) or name in _SECRET_NAMES
    return is_secret and f"{name}_file" not in fields


def variables_of(name: str, field: FieldInfo, prefix: str) -> tuple[str, ...]:
    """Return the variables that a setting is read from, in order of precedence."""
    alias = field.validation_alias
    if isinstance(alias, AliasChoices):
        return tuple(str(choice) for choice in alias.choices)
    return (str(alias),) if alias else (f"{prefix}{name}".upper(),)


class _SecretFiles(PydanticBaseSettingsSource):
    """Source of the secrets in files that ``<VARIABLE>_FILE`` names."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Return the text of a secret in a file, its key, and whether the text is JSON."""
        variables = variables_of(field_name, field, str(self.config.get("env_prefix", "")))
        if not any(os.environ.get(f"{variable}_FILE") for variable in variables):
            return None, field_name, False
        return (
            secret_of(os.environ, *variables),
            variables[0] if field.validation_alias else field_name,
            False,
        )

    def __call__(self) -> dict[str, Any]:
        fields = self.settings_cls.model_fields
        names = [name for name in fields if is_in_files(name, fields)]
        found = (self.get_field_value(fields[name], name) for name in names)
        texts = {key: text for text, key, _ in found if text is not None}
        return texts | self._paths(names)

    def _paths(self, names: list[str]) -> dict[str, str]:
        """Return the paths of secret files for the settings `…_path`, which reread them."""
        fields, prefix = self.settings_cls.model_fields, str(self.config.get("env_prefix", ""))
        return {
            f"{name}_path": path
            for name in names
            if f"{name}_path" in fields
            for variable in variables_of(name, fields[name], prefix)
            if (path := os.environ.get(f"{variable}_FILE"))
        }


class SettingsPiece(BaseSettings):
    """Base class of groups of settings; the settings of a service inherit from several groups."""

    model_config = SettingsConfigDict(
        env_prefix="NOETL_",
        frozen=True,
        populate_by_name=True,
        extra="ignore",
        use_attribute_docstrings=True,
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 -- the library's signature
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the sources: arguments take precedence, then secrets in files, then variables."""
        return init_settings, _SecretFiles(settings_cls), env_settings

    def in_effect(self) -> dict[str, str]:
        """Return the settings without secrets and logins, for logs and metrics (F29)."""
        return {
            # Logs and metrics are UTF-8; the environment may hold other bytes.
            name: _LOGIN.sub("//", str(value)).encode(errors="backslashreplace").decode()
            for name in type(self).model_fields
            if (value := getattr(self, name)) is not None
            and not isinstance(value, SecretStr)
            and name not in _SECRET_NAMES
        }

    def with_sources(self) -> list[SettingInEffect]:
        """Return all settings with their sources.

        The value of a secret is None, or empty if the secret is not set.
        """
        prefix = str(self.model_config.get("env_prefix", ""))
        shown = self.in_effect()
        return [
            SettingInEffect(
                name=name,
                value=shown.get(name, None if _text_of(getattr(self, name)) else ""),
                source=self._source(name, field, prefix),
            )
            for name, field in type(self).model_fields.items()
        ]

    def _source(self, name: str, field: FieldInfo, prefix: str) -> Source:
        variables = variables_of(name, field, prefix)
        if any(os.environ.get(f"{variable}_FILE") for variable in variables):
            return "file" if is_in_files(name, type(self).model_fields) else "default"
        if any(variable in os.environ for variable in variables):
            return "environment"
        return "default" if getattr(self, name) == field.default else "given"


def _text_of(value: Any) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value or "")
