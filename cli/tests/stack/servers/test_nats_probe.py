"""Probes of one server at the same time keep to themselves."""

import socket
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


def test_no_question_shares_a_subscription_with_another() -> None:
    """A server ends one after its answer has left, and with it whatever took its number."""
    seen: list[list[str]] = []

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection, connection.makefile("rwb", buffering=0) as stream:
            stream.write(b"INFO {}\r\n")
            for line in stream:
                words = line.decode().split()
                if words[:1] == ["PING"]:
                    stream.write(b"PONG\r\n")
                elif words[:1] == ["SUB"]:
                    seen.append(words[1:])
                elif words[:1] == ["PUB"]:
                    inbox, number = seen[-1]
                    stream.write(f"MSG {inbox} {number} 2\r\n{{}}\r\n".encode())

    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        served = pool.submit(serve, listener)
        with NatsProbe(f"nats://127.0.0.1:{listener.getsockname()[1]}") as probe:
            assert [probe.request("any") for _ in range(3)] == [{}] * 3
        served.result()

    assert len({inbox for inbox, _ in seen}) == len({number for _, number in seen}) == 3
