"""`/api/auth/validate` and `/api/auth/check-access`: the session of a page behind a gateway."""

from typing import Literal

from pydantic import Field

from noetl_contract.http.system.database import SessionUser
from noetl_contract.model import Model, example


class TokenValidateRequest(Model):
    """A page's token: of a session, of a login provider, or an API key."""

    model_config = example(session_token="<token>")  # noqa: S106 -- a place

    session_token: str


class TokenValidateAnswer(Model):
    """Validity of a token, and its user."""

    model_config = example(
        valid=True,
        user={"user_id": 0, "email": "ann", "display_name": "ann", "roles": ["author"]},
        expires_at=None,
        message="Session is valid",
    )

    valid: bool
    user: SessionUser | None
    expires_at: str | None
    message: str


class AccessCheckRequest(Model):
    """An action of a page on a playbook, to be checked."""

    model_config = example(
        session_token="<token>",  # noqa: S106 -- a place
        playbook_path="demo/hello",
        permission_type="execute",
    )

    session_token: str
    playbook_path: str
    permission_type: Literal["execute", "view", "edit"] = Field(default="execute")


class AccessCheckAnswer(Model):
    """Decision about the action."""

    model_config = example(
        allowed=True,
        user={"user_id": 0, "email": "ann", "display_name": "ann", "roles": ["author"]},
        playbook_path="demo/hello",
        permission_type="execute",
        message="Access granted",
    )

    allowed: bool
    user: SessionUser | None
    playbook_path: str
    permission_type: str
    message: str
