"""Metrics of other regions."""

import httpx
from noetl_catalog.secrets.credentials.cross_region import CrossRegionClient
from noetl_catalog.secrets.settings import SecretSettings
from prometheus_client import REGISTRY

NAME = "noetl_secret_broker_call_total"


def counted(region: str) -> float:
    labels = {"broker_region": region, "outcome": "wrong_region"}
    return REGISTRY.get_sample_value(NAME, labels) or 0.0


async def test_names_that_callers_make_up_are_counted_as_one() -> None:
    async with httpx.AsyncClient() as client:
        settings = SecretSettings(secret_broker_registry='{"eu-west-9": "http://localhost"}')
        brokers = CrossRegionClient(client, settings)
        before = counted("other"), counted("eu-west-9"), counted("-")
        for region in ("made-up-1", "made-up-2", "eu-west-9", ""):
            brokers.served(region, "wrong_region")

    assert (counted("other"), counted("eu-west-9"), counted("-")) == (
        before[0] + 2,
        before[1] + 1,
        before[2] + 1,
    )
    assert counted("made-up-1") == 0.0
