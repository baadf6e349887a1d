"""The playbook that calls an address; it has no row and is there in every catalog."""

from datetime import UTC, datetime

from noetl_contract.failures.ended import WEBHOOK_CATALOG_ID, WEBHOOK_PATH
from noetl_contract.http.catalog.entries import CatalogEntry

_SINCE = datetime(2026, 1, 1, tzinfo=UTC)
# A wrong answer fails the step, after some tries, so that it can be seen.
_TEXT = f"""\
apiVersion: noetl.io/v2
kind: Playbook
metadata:
  name: webhook
  path: {WEBHOOK_PATH}
  description: Sends `body` to `url`; made for ends of executions.
spec: {{errors: fail}}
workload: {{url: "", auth: null, body: {{}}}}
workflow:
  - step: start
    desc: Send it.
    tool:
      kind: http
      method: POST
      url: "{{{{ workload.url }}}}"
      auth: "{{{{ workload.auth }}}}"
      json: "{{{{ workload.body }}}}"
      timeout_seconds: 30
      retry: {{max_attempts: 5, initial_delay: 1, max_delay: 30}}
"""


def built_in(*, path: str | None = None, catalog_id: int | None = None) -> CatalogEntry | None:
    """Return the built-in entry for its own path or id; None for others."""
    if catalog_id != WEBHOOK_CATALOG_ID and (catalog_id is not None or path != WEBHOOK_PATH):
        return None
    return CatalogEntry(
        catalog_id=WEBHOOK_CATALOG_ID,
        path=WEBHOOK_PATH,
        kind="playbook",
        version=1,
        content=_TEXT,
        layout=None,
        payload=None,
        meta=None,
        created_at=_SINCE,
    )
