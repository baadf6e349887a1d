"""A token used a thousand times at once near its end: ``make renewals``, for half a minute.

Three catalogs in processes of their own, and an issuer that takes half a second. A thousand uses
over HTTP by fifty executions, before there is a token, and again each time it is about to end:
the issuer must be asked once each time, and no use may fail for want of a token. Then the issuer
fails, and is asked once a pause. With ``--refresh`` it is asked by a refresh token, which it
replaces each time, and takes no other.
"""

import argparse
import asyncio
import math
import sys
import threading
import time
from collections import Counter
from contextlib import AsyncExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import orjson
from noetl_testkit.stack import Stack, execute, register, running_stack

LIFE_SECONDS, ANSWER_SECONDS = 40, 0.5
# The last quarter of what is given out of a life: nine tenths of it, or five seconds less.
WINDOW_SECONDS = (LIFE_SECONDS - 4) / 4
# A machine too small for so many at once says so before the token is looked for.
_BUSY = "busy:"
_A_CLIENT = 25
PLAYBOOK = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {{name: renewals, path: rotation/renewals}}
keychain:
- {{name: partner, kind: oauth2, endpoint: "http://127.0.0.1:{port}/token", {more}}}
workflow:
- {{step: start, tool: {{kind: noop}}}}
"""


class Issuer:
    """Gives numbered tokens, slowly, and counts."""

    def __init__(self, *, replaces: bool) -> None:
        self.asked = 0
        self.is_failing = False
        self.refresh_token = "first" if replaces else ""
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                issuer.asked += 1
                number = issuer.asked
                sent = self.rfile.read(int(self.headers["content-length"]))
                time.sleep(ANSWER_SECONDS)
                body = {"access_token": f"token-{number}", "expires_in": LIFE_SECONDS}
                fails = issuer.is_failing
                if issuer.refresh_token:
                    fails |= f"refresh_token={issuer.refresh_token}&" not in f"{sent.decode()}&"
                if issuer.refresh_token and not fails:
                    issuer.refresh_token = body["refresh_token"] = f"refresh-{number}"
                data = b"no" if fails else orjson.dumps(body)
                self.send_response(500 if fails else 200)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


class Uses:
    """Uses of the token over HTTP."""

    def __init__(self, stack: Stack, executions: list[int]) -> None:
        self._stack = stack
        self._executions = executions

    async def at_once(self, many: int) -> tuple[Counter[str], float]:
        """Use it many times at once; return the answers, and the slowest in seconds."""
        key = self._stack.admin_key()
        headers = {"authorization": f"Bearer {key}"} if key else {}
        async with AsyncExitStack() as opened:
            # Many pools: one looks through all of its connections for each request.
            clients = [
                await opened.enter_async_context(
                    httpx.AsyncClient(base_url=self._stack.url, timeout=60, headers=headers)
                )
                for _ in range(math.ceil(many / _A_CLIENT))
            ]
            uses = (self._one(clients[n // _A_CLIENT], n) for n in range(many))
            answers = await asyncio.gather(*uses)
        return Counter(text for text, _ in answers), max(seconds for _, seconds in answers)

    async def _one(self, client: httpx.AsyncClient, number: int) -> tuple[str, float]:
        began = time.monotonic()
        execution = self._executions[number % len(self._executions)]
        path = f"/api/credentials/partner?include_data=true&execution_id={execution}"
        try:
            answer = await client.get(path)
        except httpx.HTTPError as error:
            return f"{_BUSY} {type(error).__name__}", time.monotonic() - began
        seconds = time.monotonic() - began
        if answer.status_code == 200:
            return str(answer.json()["data"]["access_token"]), seconds
        if answer.status_code == 503:
            return f"{_BUSY} 503", seconds
        return f"{answer.status_code} {answer.text[:68]}", seconds


async def run(uses: Uses, issuer: Issuer, *, many: int, rounds: int) -> bool:
    """Use tokens, print the results, and return whether they are right."""
    right = True
    ends = 0.0
    for number in range(rounds + 1):
        if number:
            await asyncio.sleep(max(0.0, ends - time.monotonic()))
        before = issuer.asked
        began = time.monotonic()
        found, slowest = await uses.at_once(many)
        while issuer.asked == before and time.monotonic() < began + 10:
            await asyncio.sleep(0.05)
        await asyncio.sleep(2 * ANSWER_SECONDS)
        asked = issuer.asked - before
        # Seen once in what it is from now on.
        ends = time.monotonic() + LIFE_SECONDS - 4 - WINDOW_SECONDS + 0.5
        what = f"round {number}: about to end" if number else "no token yet"
        print(
            f"{what}: {many} uses, issuer asked {asked} times, answers {dict(found)}, "
            f"slowest {slowest:.2f} s"
        )
        right &= asked == 1 and all(text.startswith(("token-", _BUSY)) for text in found)
    return right


async def fail(uses: Uses, issuer: Issuer, *, many: int) -> bool:
    """Let the issuer fail when the token has ended."""
    issuer.is_failing = True
    await asyncio.sleep(LIFE_SECONDS)
    before = issuer.asked
    found, slowest = await uses.at_once(many)
    asked = issuer.asked - before
    print(
        f"issuer fails: {many} uses, issuer asked {asked} times, answers {dict(found)}, "
        f"slowest {slowest:.2f} s"
    )
    # Its pauses are 1 s, 2 s, 4 s and so on: one question for each that has ended meanwhile.
    return asked <= 1 + math.log2(1 + slowest) and all(
        text.startswith(("502", _BUSY)) for text in found
    )


def main() -> int:
    """Run, and return 0 when the issuer was asked once each time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--uses", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--fails", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--refresh", action="store_true", help="by a refresh token")
    args = parser.parse_args()
    issuer = Issuer(replaces=args.refresh)
    more = "grant: refresh_token, credential: login" if args.refresh else "data: {client_id: a}"
    with running_stack(arguments=["--catalogs", "3"]) as stack:
        with stack.client() as client:
            login = {"client_id": "a", "refresh_token": issuer.refresh_token}
            stored = {"name": "login", "type": "generic", "data": login}
            client.post("/api/credentials", json=stored).raise_for_status()
            register(client, PLAYBOOK.format(port=issuer.server.server_port, more=more))
            executions = [execute(client, "rotation/renewals") for _ in range(50)]
        uses = Uses(stack, executions)
        is_right = asyncio.run(run(uses, issuer, many=args.uses, rounds=args.rounds))
        if args.fails:
            is_right &= asyncio.run(fail(uses, issuer, many=args.uses))
    issuer.server.shutdown()
    return 0 if is_right else 1


if __name__ == "__main__":
    sys.exit(main())
