"""Settings of documents and of the reads of them."""

from noetl_common.settings import PlaybookSettings
from noetl_contract.plugins.document import LARGEST_MODULE
from pydantic import Field


class EntrySettings(PlaybookSettings):
    """Limits of documents, lists and caches."""

    catalog_content_max_bytes: int = Field(default=2 << 20, gt=0)
    """Largest document that is registered."""
    plugin_module_max_bytes: int = Field(default=LARGEST_MODULE, gt=0)
    """Largest module of a plug-in, unpacked."""
    catalog_list_limit: int = Field(default=5000, gt=0)
    """Entries in one answer of the catalog list, newest first."""
    catalog_content_cache_entries: int = Field(default=256, ge=0)
    """Documents kept in memory; a version never changes."""
    catalog_parse_timeout_seconds: float = Field(default=10.0, gt=0)
    """Timeout of reading one document."""
    runtime_offline_seconds: float = Field(default=60.0, gt=0)
    """A worker silent for longer is not counted any more."""
