"""Probes of one server at the same time keep to themselves."""

from concurrent.futures import ThreadPoolExecutor

from noetl.stack.servers.nats_probe import NatsProbe

PROBES = 8
QUESTIONS = 40


def asked(url: str, number: int) -> set[str]:
    """Names of the streams in the answers to questions about one stream."""
    name = f"asked-{number}"
    with NatsProbe(url) as probe:
        probe.request(f"$JS.API.STREAM.CREATE.{name}", {"name": name, "subjects": [name]})
        return {
            probe.request(f"$JS.API.STREAM.INFO.{name}")["config"]["name"] for _ in range(QUESTIONS)
        }


def test_every_probe_gets_the_answers_to_its_own_questions(nats_url: str) -> None:
    with ThreadPoolExecutor(PROBES) as pool:
        answers = list(pool.map(lambda number: asked(nats_url, number), range(PROBES)))

    assert answers == [{f"asked-{number}"} for number in range(PROBES)]
