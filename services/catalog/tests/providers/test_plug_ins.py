"""Providers of other packages: found by entry point, and refused by name without sense."""

import re
import sys
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType

import httpx
import pytest
from noetl_catalog.providers.errors import ProviderFailed
from noetl_catalog.providers.registry import (
    GROUP,
    MissingProvider,
    Providers,
    UnknownProvider,
    check_provider,
    load_providers,
)
from noetl_catalog.providers.settings import ProviderSettings
from noetl_common.process.extensions import BadExtension

from services.catalog.tests.providers.provider_server import running_clouds

ROOT = next(folder for folder in Path(__file__).resolve().parents if (folder / "Makefile").exists())
PAGE = ROOT / "docs" / "secret-providers.md"
OURS = ("aws", "aws_sts", "azure", "azure_oauth", "gcp", "gcp_iam", "k8s", "oauth2", "vault")


def entry(name: str, value: str) -> EntryPoint:
    return EntryPoint(name, value, GROUP)


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> str:
    """The example of the page, as a module that can be imported."""
    code = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert code is not None
    module = ModuleType("noetl_provider_safe")
    exec(compile(code[1], str(PAGE), "exec"), module.__dict__)  # noqa: S102 -- our own page
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return "noetl_provider_safe:Safe"


def test_ours_are_registered_like_any_other() -> None:
    assert tuple(sorted(load_providers())) == OURS


async def test_the_example_of_the_documents_is_a_provider(
    example: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = load_providers([entry("safe", example)])
    with running_clouds() as clouds:
        clouds.answer("/drawer-7", {"secret": "gold", "seconds": 60})
        clouds.answer("/drawer-8", {})
        async with httpx.AsyncClient(trust_env=False) as client:
            providers = Providers(client, ProviderSettings(), kinds=kinds)
            with pytest.raises(ProviderFailed, match="'safe': SAFE_ADDRESS is not set"):
                await providers.build("safe").fetch("drawer-7")
            monkeypatch.setenv("SAFE_ADDRESS", clouds.url)
            found = await providers.build("safe").fetch("drawer-7")
            with pytest.raises(ProviderFailed, match="'safe': the drawer is empty") as failed:
                await providers.build("safe").fetch("drawer-8")
            with pytest.raises(UnknownProvider, match=r"'vaults' \(supported: safe\)"):
                providers.build("vaults")

    assert found.value == "gold"
    assert found.expires_at is not None
    assert failed.value.http_status == 502


@pytest.mark.parametrize("name", [*(one for one in OURS if one != "oauth2"), "aws_sm"])
def test_one_whose_package_is_not_installed_names_it(name: str) -> None:
    own = load_providers(one for one in entry_points(group=GROUP) if one.name == "oauth2")

    with pytest.raises(MissingProvider) as raised:
        check_provider(name, own)
    assert str(raised.value) == (
        f"keychain secret provider '{name}' is in the package noetl-keychain-providers: "
        "install it beside the catalog"
    )
    assert check_provider("oauth2", own)


@pytest.mark.parametrize(
    ("entries", "text"),
    [
        (["a=noetl_keychain_providers.vault:Vault", "a=noetl_keychain_providers.gcp:GcpIam"],
         "'a' of noetl_keychain_providers.gcp:GcpIam can't be used: another one has that name"),
        (["aws_sm=noetl_keychain_providers.vault:Vault"], "'aws_sm' of .* another one has that"),
        (["a=noetl_keychain_providers.vault:quote"], "is no class that extends Provider"),
    ],
)  # fmt: skip
def test_what_is_no_provider_stops_the_start(entries: list[str], text: str) -> None:
    found = [entry(*one.split("=", 1)) for one in entries]

    with pytest.raises(BadExtension, match=text):
        load_providers(found)
