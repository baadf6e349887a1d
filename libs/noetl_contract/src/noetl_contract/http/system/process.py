"""`/api/status`, `/api/threads` and `/api/profiler/*`."""

from pydantic import BaseModel, ConfigDict

__all__ = [
    "ProcessUse",
    "ProfilerAnswer",
    "ProfilerStatus",
    "StatusAnswer",
    "SystemUse",
    "ThreadEntry",
]

_MODEL = ConfigDict(frozen=True, extra="ignore")


class SystemUse(BaseModel):
    """The machine; sizes in MiB."""

    model_config = _MODEL

    cpu_percent: float
    memory_percent: float
    total_memory_mb: float
    used_memory_mb: float
    available_memory_mb: float


class ProcessUse(BaseModel):
    """The process that answers; sizes in MiB, the start in Unix seconds."""

    model_config = _MODEL

    pid: int
    cpu_percent: float
    memory_rss_mb: float
    memory_vms_mb: float
    num_threads: int
    start_time: int
    uptime_seconds: int


class StatusAnswer(BaseModel):
    """Memory and CPU of the edge and its machine."""

    model_config = _MODEL

    system: SystemUse
    process: ProcessUse


class ThreadEntry(BaseModel):
    """The thread that answers."""

    model_config = _MODEL

    thread_id: int
    name: str
    is_alive: bool


class ProfilerStatus(BaseModel):
    """Whether memory is being profiled: never."""

    model_config = _MODEL

    is_profiling: bool
    profiler_type: str | None
    message: str


class ProfilerAnswer(BaseModel):
    """Why nothing was begun or ended."""

    model_config = _MODEL

    status: str
    message: str
