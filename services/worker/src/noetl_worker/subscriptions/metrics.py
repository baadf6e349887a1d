"""Metrics of the subscription runtime; the names are the contract's."""

from noetl_common.metrics import counter, gauge

RECEIVED = counter("noetl_subscription_messages_received_total", "Messages taken.", ("source",))
EXECUTIONS = counter(
    "noetl_subscription_executions_total", "Starts of executions.", ("source", "outcome")
)
DIRECTIVES = counter(
    "noetl_subscription_directives_applied_total", "What headers have decided.", ("controls",)
)
SPOOLED = counter(
    "noetl_subscription_spooled_total", "Messages kept while nothing could be started.",
    ("source",),
)  # fmt: skip
DEAD_LETTERED = counter("noetl_subscription_dead_lettered_total", "Messages given up.", ("source",))
TRANSITIONS = counter(
    "noetl_subscription_circuit_transitions_total",
    "Changes of the circuit breaker.",
    ("downstream", "transition"),
    zeros=[("control_plane", word) for word in ("opened", "half_open", "closed")],
)
SPOOL_BYTES = gauge("noetl_subscription_spool_bytes", "Bytes of kept messages.", ("source",))
BATCHES = counter("noetl_subscription_batch_dispatch_total", "Starts of many.", ("source",))
BATCHED = counter("noetl_subscription_batch_messages_total", "Messages in them.", ("source",))
LIMITED = counter(
    "noetl_subscription_rate_limited_total", "Times that a limit held messages back.",
    ("source", "reason"),
)  # fmt: skip
IN_FLIGHT = gauge(
    "noetl_subscription_in_flight", "Messages taken and not settled yet.", ("source",)
)
