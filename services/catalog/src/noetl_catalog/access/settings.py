"""Settings of keys and of the access audit."""

from noetl_common.environment.pieces import SettingsPiece
from pydantic import Field, SecretStr


class AccessSettings(SettingsPiece):
    """Preconfigured keys, and the retention of the audit."""

    access_keys: SecretStr = SecretStr("")
    """Keys that are stored at start: `role=nk_<id>_<secret>`, by commas; one that was revoked stays
    so until its secret changes."""
    access_audit_retention_days: float = Field(default=90.0, ge=0)
    """Days that the access audit is kept; 0: for ever."""
    access_key_use_seconds: float = Field(default=10.0, gt=0)
    """Interval in which the last uses of keys are written."""
    access_key_limit: int = Field(default=10_000, gt=0)
    """Keys, or grants, in one answer of their lists."""
