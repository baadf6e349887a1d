"""Signature version 4 of AWS, for JSON requests without a query."""

import hashlib
import hmac
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import urlsplit

_ALGORITHM = "AWS4-HMAC-SHA256"


@dataclass(frozen=True, slots=True)
class AwsLogin:
    """A key of AWS, its secret and perhaps a session."""

    key_id: str
    secret: str = field(repr=False)
    session: str = field(default="", repr=False)


def signed_headers(
    login: AwsLogin,
    *,
    url: str,
    body: bytes,
    headers: dict[str, str],
    region: str,
    service: str,
    now: datetime,
) -> dict[str, str]:
    """Return all headers of a POST, the signature among them."""
    moment, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
    parts = urlsplit(url)
    signed = {
        **{name.lower(): value for name, value in headers.items()},
        "host": parts.netloc,
        "x-amz-date": moment,
    }
    if login.session:
        signed["x-amz-security-token"] = login.session
    names = ";".join(sorted(signed))
    canonical = "\n".join(
        [
            "POST",
            parts.path or "/",
            "",
            *(f"{name}:{signed[name].strip()}" for name in sorted(signed)),
            "",
            names,
            hashlib.sha256(body).hexdigest(),
        ]
    )
    scope = f"{day}/{region}/{service}/aws4_request"
    text = "\n".join([_ALGORITHM, moment, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{login.secret}".encode()
    for part in (day, region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.new(key, text.encode(), "sha256").hexdigest()
    authorization = (
        f"{_ALGORITHM} Credential={login.key_id}/{scope}, SignedHeaders={names},"
        f" Signature={signature}"
    )
    return {**signed, "authorization": authorization}
