"""Report the means that keep scripts apart on this machine."""

from noetl_common.logging import get_logger

from noetl_worker import metrics
from noetl_worker.hosting.host.box import features, landlock_version
from noetl_worker.hosting.host.calls import can_filter
from noetl_worker.interpreters.nursery import ScriptBox

_log = get_logger()


def tell_isolation(box: ScriptBox | None) -> dict[str, bool]:
    """Log and export the rules enforced for scripts; return them by feature.

    Args:
        box: what they may reach by the settings; None: nothing is enforced.
    """
    version = landlock_version()
    enforced = features(
        version if box is not None else 0,
        limits_network=box is not None and box.ports is not None,
    )
    enforced["calls"] = box is not None and can_filter()
    for feature, is_enforced in enforced.items():
        metrics.SCRIPT_ISOLATION.labels(feature).set(int(is_enforced))
    # An open network is what playbooks need; anything else that is missing is a weakness.
    is_weak = not all(on for feature, on in enforced.items() if feature != "network")
    tell = _log.warning if is_weak else _log.info
    tell("script_isolation", landlock=version, **enforced)
    return enforced
