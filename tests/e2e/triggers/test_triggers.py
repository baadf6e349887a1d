"""Subscriptions and webhooks through the whole system; the long version is `make triggers`."""

import hashlib
import hmac
import os
import re
from collections import Counter
from pathlib import Path

import pytest
import yaml
from ledger import dead_letters, started
from noetl_testkit.stack import Stack, register
from noetl_testkit.waiting import wait_until
from proof import register as register_subscription
from proof import running_runtime
from sources import bodies, poison, running_source

EXAMPLE = Path(__file__).parents[3] / "examples" / "webhook.yaml"


@pytest.mark.slow
@pytest.mark.e2e
def test_w19_each_message_starts_one_execution_though_runtime_and_broker_are_killed(
    nats_stack: Stack,
) -> None:
    path = "triggers/killed"
    with running_source("nats") as source:
        register_subscription(nats_stack, path, {"source": "nats", **source.fields()})
        with running_runtime(nats_stack, path) as runtime:
            source.send([*bodies(0, 30), poison(1_000_001)])
            wait_until(lambda: len(started(nats_stack, path)) >= 5)
            runtime.kill()
            source.send(bodies(30, 30))
            runtime.start()
            wait_until(lambda: len(started(nats_stack, path)) >= 35)
            source.restart()
            source.send(bodies(60, 20))
            wait_until(lambda: len(started(nats_stack, path)) == 80)
            # What the killed runtime had taken comes again when its time to acknowledge is over.
            wait_until(lambda: 1_000_001 in dead_letters(nats_stack))
            code = runtime.stop()

    assert started(nats_stack, path) == Counter(range(80))
    assert code == 0
    with nats_stack.client() as client:
        listed = client.get("/api/subscriptions").json()["subscriptions"]
    assert [one["state"] for one in listed if one["path"] == path] == ["DEACTIVATED"]


@pytest.mark.e2e
def test_the_example_of_a_webhook_is_started_once_by_its_curl_line(nats_stack: Stack) -> None:
    text = EXAMPLE.read_text()
    told = re.sub(r"^#   ?", "", text, flags=re.MULTILINE)
    document = told[told.index("apiVersion: noetl.io/v1") : told.index("# Then deliver")]
    assert yaml.safe_load(document)["kind"] == "Subscription"
    secret = {"name": "webhook_example", "type": "bearer", "data": {"secret": "change-me"}}
    body = b'{"order": 7}'
    mac = hmac.new(b"change-me", body, hashlib.sha256).hexdigest()
    headers = {"x-signature": f"sha256={mac}", "x-delivery-id": f"d-{os.getpid()}"}
    with nats_stack.client() as client:
        client.post("/api/credentials", json=secret).raise_for_status()
        for content in (text, document):
            register(client, content)

        first = client.post("/ingress/orders", content=body, headers=headers).json()
        second = client.post("/ingress/orders", content=body, headers=headers).json()
        forged = client.post("/ingress/orders", content=b'{"order": 8}', headers=headers)

        run = f"/api/executions/{first['execution_id']}"
        wait_until(lambda: client.get(run).json()["status"] == "COMPLETED")
        steps = client.get(f"{run}/events?event_type=call.done").json()["events"]
    assert first["status"] == "accepted"
    assert second == first | {"duplicate": True}
    assert (forged.status_code, forged.json()["reason"]) == (401, "bad_signature")
    assert '"taken":7' in str(steps[0]["result"]).replace(" ", "").replace("'", '"')
