"""AWS: the secrets manager, and keys of roles."""

import re
from datetime import UTC, datetime
from urllib.parse import urlencode

import orjson
from noetl_catalog.providers.calls import as_text, read_file
from noetl_catalog.providers.provider import Provider, Secret
from noetl_contract.json import JsonObject

from noetl_keychain_providers.aws_signature import AwsLogin, signed_headers

_REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-\d+")
_STS_REGION = "us-east-1"
_SESSION = "noetl"


class AwsSecrets(Provider):
    """`[<region>:]<secret-id>[#<json-key>]`."""

    async def fetch(self, reference: str) -> Secret:
        """Return a secret, or one key of a secret that is a JSON object."""
        settings = self._settings
        place, _, key = reference.strip().partition("#")
        region, name = _with_region(place, settings.aws_region)
        if not name or not region:
            raise self._calls.misconfigured(
                "the reference names no secret, or no region and AWS_REGION is not set"
            )
        secret = settings.aws_secret_access_key.get_secret_value()
        if not settings.aws_access_key_id or not secret:
            raise self._calls.misconfigured(
                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not both set"
            )
        login = AwsLogin(
            settings.aws_access_key_id, secret, settings.aws_session_token.get_secret_value()
        )
        url = settings.aws_sm_endpoint or f"https://secretsmanager.{region}.amazonaws.com/"
        body = orjson.dumps({"SecretId": name})
        headers = signed_headers(
            login,
            url=url,
            body=body,
            headers={
                "content-type": "application/x-amz-json-1.1",
                "x-amz-target": "secretsmanager.GetSecretValue",
            },
            region=region,
            service="secretsmanager",
            now=datetime.now(UTC),
        )
        answer = await self._calls.json("POST", url, content=body, headers=headers)
        text = self._calls.text(
            answer, "SecretString", otherwise=f"the secret '{name}' holds no text"
        )
        return Secret(self._member(text, key) if key else text)

    def _member(self, text: str, key: str) -> str:
        try:
            members = orjson.loads(text)
        except orjson.JSONDecodeError:
            members = None
        if not isinstance(members, dict) or key not in members:
            raise self._calls.failed(f"the secret has no JSON key '{key}'")
        return as_text(members[key])


class AwsSts(Provider):
    """`[<region>:]<role-arn>[#<session-name>]`: keys of a role for the pod's identity."""

    async def fetch(self, reference: str) -> Secret:
        """Return fresh keys as JSON text."""
        settings = self._settings
        place, _, session = reference.strip().partition("#")
        region, role = _with_region(place, settings.aws_region or _STS_REGION)
        role = role or settings.aws_role_arn
        if not role:
            raise self._calls.misconfigured("the reference names no role")
        identity = await read_file(settings.aws_web_identity_token_file)
        if not identity:
            raise self._calls.misconfigured("AWS_WEB_IDENTITY_TOKEN_FILE can't be read")
        answer = await self._calls.json(
            "POST",
            settings.aws_sts_endpoint_override or f"https://sts.{region}.amazonaws.com/",
            content=urlencode(
                {
                    "Action": "AssumeRoleWithWebIdentity",
                    "Version": "2011-06-15",
                    "RoleArn": role,
                    "RoleSessionName": session or _SESSION,
                    "WebIdentityToken": identity,
                    "DurationSeconds": settings.aws_sts_duration_secs,
                }
            ),
            headers={
                "content-type": "application/x-www-form-urlencoded",
                "accept": "application/json",
            },
        )
        return self._keys(answer)

    def _keys(self, answer: JsonObject) -> Secret:
        try:
            found = answer["AssumeRoleWithWebIdentityResponse"]
            keys = found["AssumeRoleWithWebIdentityResult"]["Credentials"]
            text = orjson.dumps(
                {
                    "access_key_id": keys["AccessKeyId"],
                    "secret_access_key": keys["SecretAccessKey"],
                    "session_token": keys["SessionToken"],
                }
            ).decode()
            return Secret(text, _moment(keys["Expiration"]))
        except (KeyError, TypeError, ValueError, OverflowError):
            raise self._calls.failed("the answer has no keys") from None


def _moment(value: float | str) -> datetime:
    """Read an expiry; in JSON it is seconds, in other forms a text."""
    if isinstance(value, str):
        return datetime.fromisoformat(value).astimezone(UTC)
    return datetime.fromtimestamp(value, UTC)


def _with_region(place: str, default: str) -> tuple[str, str]:
    """Split a region off; names of secrets and roles have colons of their own."""
    region, has_rest, rest = place.partition(":")
    if has_rest and _REGION.fullmatch(region):
        return region, rest
    return default, place
