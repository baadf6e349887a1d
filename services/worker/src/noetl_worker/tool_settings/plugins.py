"""Settings of the wasm tool: limits of one run of a plug-in."""

from noetl_common.environment.pieces import SettingsPiece
from noetl_contract.plugins.document import LARGEST_MODULE
from pydantic import Field

_MEBIBYTE = 1 << 20


class PluginSettings(SettingsPiece):
    """The worker's settings for plug-ins; composed by inheritance."""

    wasm_slots: int = Field(default=4, ge=1)
    """Plug-ins at work at once; others wait."""
    wasm_fuel_max: int = Field(default=10_000_000_000, ge=1)
    """Most instructions, or so, of one run."""
    wasm_memory_bytes_max: int = Field(default=256 * _MEBIBYTE, ge=1 << 16)
    """Most memory of one run."""
    wasm_seconds_max: float = Field(default=60.0, gt=0)
    """Longest run of a plug-in."""
    wasm_output_bytes_max: int = Field(default=16 * _MEBIBYTE, ge=1024)
    """Largest input, and largest result, of one."""
    wasm_log_bytes: int = Field(default=_MEBIBYTE, ge=1024)
    """Kept bytes of what one run logs."""
    wasm_calls_max: int = Field(default=1000, ge=1)
    """Calls of `http`, `kv_get` and `kv_set` of one run."""
    wasm_modules_kept: int = Field(default=32, ge=1)
    """Plug-ins kept compiled, those used last."""
    wasm_module_bytes_max: int = Field(default=LARGEST_MODULE, ge=1024)
    """Largest module, unpacked."""
    wasm_compile_seconds: float = Field(default=20.0, gt=0, le=600)
    """Most processor time for compiling a module; of the clock a minute more."""
    wasm_compile_memory_bytes: int = Field(default=1024 * _MEBIBYTE, ge=256 * _MEBIBYTE)
    """Most memory for compiling one."""
