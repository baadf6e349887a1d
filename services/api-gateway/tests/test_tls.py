"""The TLS listener."""

import ipaddress
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from noetl.stack.process import free_port
from noetl_api_gateway.settings import Settings
from pydantic import ValidationError

from .test_app import running


def write_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """Write a self-signed certificate for the loopback address, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / f"{name}.pem", folder / f"{name}.key"
    cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return cert_file, key_file


async def test_only_clients_with_the_right_certificate_are_served(tmp_path: Path) -> None:
    cert, key = write_certificate(tmp_path, "server")
    client_cert, client_key = write_certificate(tmp_path, "client")
    knows_server = ssl.create_default_context(cafile=str(cert))
    is_known = ssl.create_default_context(cafile=str(cert))
    is_known.load_cert_chain(client_cert, client_key)
    nowhere = f"nats://127.0.0.1:{free_port()}"
    tls = {
        "NOETL_TLS_CERT": str(cert),
        "NOETL_TLS_KEY": str(key),
        "NOETL_TLS_CLIENT_CA": str(client_cert),
    }
    async with running(nowhere, verify=is_known, **tls) as (_process, client):
        async with httpx.AsyncClient(
            base_url=client.base_url, verify=knows_server, trust_env=False
        ) as stranger:
            with pytest.raises(httpx.TransportError):
                await stranger.get("/health")
        known = await client.get("/health")

    assert known.json() == {"status": "ok"}


@pytest.mark.parametrize("half", [{"tls_cert": "c"}, {"tls_key": "k"}])
def test_half_a_configuration_is_no_configuration(half: dict[str, str]) -> None:
    text = r"TLS misconfigured: set both NOETL_TLS_CERT and NOETL_TLS_KEY \(or neither\)"

    with pytest.raises(ValidationError, match=text):
        Settings(**half)
