"""Settings of what sends writes."""

from typing import Literal

from noetl_common.environment.pieces import SettingsPiece


class WriteSettings(SettingsPiece):
    """Settings of how writes are sent, the same in every process that sends some."""

    ingress: Literal["direct", "stream"] = "direct"
    """`stream`, which the chart and compose say: every write is stored in the ingress stream first,
    whose length shows what waits. `direct`: only what its owner does not answer at once. What
    people say (cancel, pause …) is requested at once with both."""

    @property
    def writes_are_direct(self) -> bool:
        """Return whether only what is not answered goes into the stream."""
        return self.ingress == "direct"
