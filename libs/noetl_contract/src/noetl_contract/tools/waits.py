"""Kinds `wait` and `sleep`, which no worker runs: the control plane itself waits."""

from noetl_contract.tools.keys import KeyType, ToolKey, ToolKind

WAIT = ToolKind(
    name="wait",
    description="Waits for a signal from outside; holds no worker.",
    keys=(
        ToolKey("signal", KeyType.TEXT, "Name of the signal.", is_required=True),
        ToolKey(
            "timeout",
            KeyType.ANY,
            "Longest wait: seconds, or a duration like 15m, 4h or 3d.",
            default_text="366 days",
        ),
        ToolKey(
            "on_timeout",
            KeyType.TEXT,
            "Whether the step fails then, or goes on with `timed_out: true`.",
            default="fail",
            choices=("fail", "continue"),
        ),
        ToolKey("title", KeyType.TEXT, "What people are asked, in a line."),
        ToolKey("description", KeyType.TEXT, "The same at length."),
        ToolKey("form", KeyType.MAPPING, "Fields of the signal's payload."),
        ToolKey(
            "remind_after",
            KeyType.ANY,
            "Seconds or duration until an event `wait.reminder`.",
            default_text="`remind_every`",
        ),
        ToolKey("remind_every", KeyType.ANY, "Seconds or duration between further ones."),
    ),
)
SLEEP = ToolKind(
    name="sleep",
    description="Waits for a time; holds no worker.",
    keys=(
        ToolKey("duration", KeyType.ANY, "Seconds, or a duration like 15m, 4h or 3d."),
        ToolKey("until", KeyType.TEXT, "Moment with a zone, or a day: its midnight in UTC."),
    ),
    alternatives=(("duration", "until"),),
)
