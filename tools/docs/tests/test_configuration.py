from typing import Literal

import configuration
from pydantic import AliasChoices, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Example(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="NOETL_")

    pause_seconds: float = Field(default=2.0, description="A pause.")
    token: SecretStr | None = Field(
        default=None, validation_alias=AliasChoices("NOETL_TOKEN", "TOKEN"), description="A token."
    )
    mode: Literal["fast", "slow"] = "fast"
    needed: int


def test_a_setting_is_told_with_its_names_kind_default_and_unit() -> None:
    assert list(configuration.fields_of(Example)) == [
        configuration.Setting(("NOETL_PAUSE_SECONDS",), "number", "`2`", "seconds", "A pause."),
        configuration.Setting(("NOETL_TOKEN", "TOKEN"), "secret", "", "", "A token."),
        configuration.Setting(("NOETL_MODE",), "`fast` or `slow`", "`fast`", "", ""),
        configuration.Setting(("NOETL_NEEDED",), "integer", "**required**", "", ""),
    ]


def test_settings_of_a_service_are_found_in_all_its_modules() -> None:
    found = {kind.__name__ for kind in configuration.settings_of("noetl_catalog")}

    assert {"Settings", "ProviderSettings"} <= found
