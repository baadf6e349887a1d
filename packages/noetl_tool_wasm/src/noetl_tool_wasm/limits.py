"""Limits of one run: the least of those of step, plug-in and worker."""

from dataclasses import dataclass

from noetl_contract.plugins.document import PluginLimits
from noetl_worker.tool_settings.plugins import PluginSettings


@dataclass(frozen=True, slots=True)
class RunLimits:
    """Bounds of one run.

    Attributes:
        fuel: Instructions, or so.
        memory_bytes: Its memory.
        seconds: Wall-clock time, the waits for calls included.
        output_bytes: Its result, and its input.
        log_bytes: Kept bytes of its lines.
        calls: Calls that ask others.
    """

    fuel: int
    memory_bytes: int
    seconds: float
    output_bytes: int
    log_bytes: int
    calls: int


def run_limits(
    settings: PluginSettings,
    plugin: PluginLimits,
    *,
    fuel: int | None = None,
    memory_bytes: int | None = None,
    seconds: float | None = None,
) -> RunLimits:
    """Return the bounds of a run; those of the step come in place of the plug-in's."""
    wanted_fuel = fuel or plugin.fuel or settings.wasm_fuel_max
    wanted_memory = memory_bytes or plugin.memory_bytes or settings.wasm_memory_bytes_max
    wanted_seconds = seconds or plugin.seconds or settings.wasm_seconds_max
    wanted_output = plugin.output_bytes or settings.wasm_output_bytes_max
    return RunLimits(
        fuel=min(wanted_fuel, settings.wasm_fuel_max),
        memory_bytes=min(wanted_memory, settings.wasm_memory_bytes_max),
        seconds=min(wanted_seconds, settings.wasm_seconds_max),
        output_bytes=min(wanted_output, settings.wasm_output_bytes_max),
        log_bytes=settings.wasm_log_bytes,
        calls=settings.wasm_calls_max,
    )
