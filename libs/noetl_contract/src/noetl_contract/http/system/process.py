"""`/api/status`, `/api/threads` and `/api/profiler/*`."""

from noetl_contract.model import Model


class SystemUse(Model):
    """The machine; sizes in MiB."""

    cpu_percent: float
    memory_percent: float
    total_memory_mb: float
    used_memory_mb: float
    available_memory_mb: float


class ProcessUse(Model):
    """The process that answers; sizes in MiB, the start in Unix seconds."""

    pid: int
    cpu_percent: float
    memory_rss_mb: float
    memory_vms_mb: float
    num_threads: int
    start_time: int
    uptime_seconds: int


class StatusAnswer(Model):
    """Memory and CPU of the edge and its machine."""

    system: SystemUse
    process: ProcessUse


class ThreadEntry(Model):
    """The thread that answers."""

    thread_id: int
    name: str
    is_alive: bool


class ProfilerStatus(Model):
    """State of the memory profiler, which never runs."""

    is_profiling: bool
    profiler_type: str | None
    message: str


class ProfilerAnswer(Model):
    """Reason why no profiling was begun or ended."""

    status: str
    message: str
