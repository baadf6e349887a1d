"""`POST /ingress/{listener}`."""

from noetl_contract.model import Model, example


class DeliveryBody(Model):
    """A delivery: JSON as its sender makes it; any other body counts as text."""

    model_config = example(order=7)


class DeliveryAnswer(Model):
    """A delivery is accepted; `duplicate` if it had come before."""

    model_config = example(status="accepted", execution_id="325077236512452608")

    status: str
    execution_id: str
    duplicate: bool = False


class DeliveryRefusal(Model):
    """A delivery is refused; `reason` is a word for programs, `detail` a sentence."""

    model_config = example(status="rejected", reason="unknown_listener")

    status: str
    reason: str
    detail: str | None = None
