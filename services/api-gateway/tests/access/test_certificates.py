"""Client certificates: configured names authenticate, others don't."""

import ipaddress
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from noetl.stack.process import free_port

from ..test_app import running
from .callers import INTERNAL, bearer

_NOW = datetime.now(UTC)
_COMMON = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "noetl test")])
_LEAF = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "noetl test leaf")])
_USAGES = (
    *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"),
    *("key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
)
_PLACE = "/api/pool/status"


class Authority:
    """Sign certificates and write them to files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.file = folder / "authority.pem"
        made = self._certificate(self._key, []).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        usage = dict.fromkeys(_USAGES, False) | {"key_cert_sign": True}
        made = made.add_extension(x509.KeyUsage(**usage), critical=True)
        signed = made.sign(self._key, hashes.SHA256())
        self.file.write_bytes(signed.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str) -> tuple[Path, Path]:
        """Return the files of a certificate for a name, and for loopback, and of its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.DNSName(name), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        signed = self._certificate(key, names).sign(self._key, hashes.SHA256())
        files = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        files[0].write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        files[1].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return files

    def context(self, name: str) -> ssl.SSLContext:
        """Return how a client with a certificate for a name connects."""
        context = ssl.create_default_context(cafile=str(self.file))
        context.load_cert_chain(*self.issue(name))
        return context

    def _certificate(
        self, key: ec.EllipticCurvePrivateKey, names: list[x509.GeneralName]
    ) -> x509.CertificateBuilder:
        made = (
            x509.CertificateBuilder()
            .subject_name(_COMMON if not names else _LEAF)
            .issuer_name(_COMMON)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(_NOW - timedelta(hours=1))
            .not_valid_after(_NOW + timedelta(hours=1))
        )
        ours = self._key.public_key()
        made = made.add_extension(
            x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
        ).add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ours), critical=False)
        if names:
            made = made.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return made


@pytest.fixture
async def edge(tmp_path: Path) -> AsyncIterator[tuple[Authority, httpx.URL]]:
    """An edge, without a broker, that knows certificates."""
    authority = Authority(tmp_path)
    cert, key = authority.issue("edge.example")
    settings = {
        "NOETL_AUTH": "on",
        "NOETL_INTERNAL_API_TOKEN": INTERNAL,
        "NOETL_TLS_CERT": str(cert),
        "NOETL_TLS_KEY": str(key),
        "NOETL_TLS_CLIENT_CA": str(authority.file),
        "NOETL_CLIENT_CERTIFICATES": "worker.example=worker,ops.example=viewer",
    }
    nowhere = f"nats://127.0.0.1:{free_port()}"
    probe = authority.context("probe.example")
    async with running(nowhere, verify=probe, **settings) as (_process, client):
        yield authority, client.base_url


async def test_a_name_of_a_certificate_is_somebody(edge: tuple[Authority, httpx.URL]) -> None:
    authority, url = edge
    async with AsyncExitStack() as stack:

        async def status(name: str, method: str, path: str, **headers: str) -> int:
            client = await stack.enter_async_context(
                httpx.AsyncClient(base_url=url, verify=authority.context(name), trust_env=False)
            )
            return (await client.request(method, path, headers=headers)).status_code

        assert await status("worker.example", "GET", _PLACE) == 200
        assert await status("worker.example", "POST", "/api/catalog/register") == 403
        assert await status("ops.example", "POST", "/api/events") == 403
        assert await status("worker.example", "GET", _PLACE, **bearer(INTERNAL)) == 401
