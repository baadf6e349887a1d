"""Plug-ins: WebAssembly modules of the catalog, run in threads of the worker."""
