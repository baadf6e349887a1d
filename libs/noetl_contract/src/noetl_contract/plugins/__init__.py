"""Plug-ins: documents with a WebAssembly module, and the interface of module and worker."""
