"""Plug-ins: documents with a WebAssembly module, and what a module may ask of its worker."""
