"""The mappings of a schedule's document as data, for its reader, the linter and the schema."""

from typing import Final

from noetl_engine.playbook.levels import (
    BOOLEAN,
    OBJECT,
    TEXT,
    Key,
    Level,
    Schema,
    one_of,
    reference,
)
from noetl_engine.schedule.model import Overlap

DURATION: Final[Schema] = {"type": ["string", "integer"]}
MOMENT: Final[Schema] = {"type": "string"}

DOCUMENT: Final = Level(
    doc="A schedule: it starts a playbook at times of a clock.",
    keys={
        "apiVersion": Key("Version of the language.", {"const": "noetl.io/v2"}, is_required=True),
        "kind": Key("Kind of the document.", {"const": "Schedule"}, is_required=True),
        "metadata": Key("Name and catalog path.", reference("Metadata"), is_required=True),
        "spec": Key("What is started, and when.", reference("ScheduleSpec"), is_required=True),
    },
)
SPEC: Final = Level(
    doc="What a schedule starts, and when; one of `cron` and `interval` is needed.",
    keys={
        "playbook": Key("Catalog path of the playbook.", TEXT, is_required=True),
        "version": Key(
            "Version of the playbook; the newest at each firing if absent.",
            {"anyOf": [{"type": "integer", "minimum": 1}, {"const": "latest"}]},
        ),
        "cron": Key(
            "Minute, hour, day of the month, month, day of the week; or @hourly, @daily, @weekly, "
            "@monthly, @yearly.",
            {"type": "string"},
        ),
        "interval": Key(
            "Time from one firing to the next, as 30s, 15m, 1h30m or a number of seconds; counted "
            "from `start`, else from 1970.",
            DURATION,
        ),
        "timezone": Key(
            "IANA name of the time zone of `cron`, `start` and `end`; UTC if absent.",
            {"type": "string"},
        ),
        "overlap": Key(
            "What happens to a firing while the execution of the one before runs; skip if absent.",
            one_of(*Overlap),
        ),
        "catch_up": Key(
            "How late a firing is still started after an outage; 1h if absent, at least a minute.",
            DURATION,
        ),
        "jitter": Key(
            "Longest delay behind the time, the same for one firing each time; 0 if absent.",
            DURATION,
        ),
        "payload": Key(
            "Laid over the playbook's workload; templates see scheduled_at, previous_at, next_at "
            "and schedule.",
            OBJECT,
        ),
        "start": Key("No firing before this moment.", MOMENT),
        "end": Key("No firing at or after this moment.", MOMENT),
        "paused": Key(
            "Whether it is registered paused; absent leaves a registered one as it is.", BOOLEAN
        ),
    },
)
METADATA: Final = Level(
    doc="Name and catalog path of a schedule.",
    is_open=True,
    keys={
        "name": Key("Name of the schedule.", TEXT, is_required=True),
        "path": Key("Catalog path; the name if absent.", TEXT),
        "description": Key("For readers.", TEXT),
        "labels": Key("Labels kept with the catalog entry.", OBJECT),
    },
)
LEVELS: Final = {"Metadata": METADATA, "ScheduleSpec": SPEC}
