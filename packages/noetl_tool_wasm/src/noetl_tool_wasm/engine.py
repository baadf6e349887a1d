"""The engine that modules are compiled for and run in."""

import wasmtime


def new_engine() -> wasmtime.Engine:
    """Return an engine; code compiled for one is code for all of them."""
    config = wasmtime.Config()
    config.consume_fuel = True
    config.epoch_interruption = True
    config.wasm_threads = False
    config.wasm_memory64 = False
    config.wasm_multi_memory = False
    # The worker has other things to do with its cores.
    config.parallel_compilation = False
    return wasmtime.Engine(config)


def first_line(error: Exception) -> str:
    """Return the first cause in an error, without the stack."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    causes = [line for line in lines if "wasm trap" in line or "error:" in line]
    text = causes[0] if causes else lines[0] if lines else type(error).__name__
    return text[:300]
