"""OIDC tokens signed as Google signs them, and the certificates that verify them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

ISSUER = "https://accounts.google.com"
NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "federated-signon.system.gserviceaccount.com")])


class Signer:
    """A signing key with the key id `id`."""

    def __init__(self, id: str = "1") -> None:
        self._id = id
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def token(self, email: str, audience: str, **changes: Any) -> str:
        """Return a token for `audience`, as Google signs it for a service account, with `changes` to its claims."""
        now = int(time.time())
        claims: dict[str, Any] = {
            "iss": ISSUER,
            "aud": audience,
            "email": email,
            "email_verified": True,
            "sub": "113774264463038321964",
            "iat": now,
            "exp": now + 3600,
            **changes,
        }
        pem = self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        crypt, jwt = import_module("google.auth.crypt"), import_module("google.auth.jwt")  # they have no types
        return bytes(jwt.encode(crypt.RSASigner.from_string(pem, key_id=self._id), claims)).decode()

    def certificates(self) -> Mapping[str, str]:
        """Return a certificate for each key, as ``https://www.googleapis.com/oauth2/v1/certs`` does."""
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(NAME)
            .issuer_name(NAME)
            .public_key(self._key.public_key())
            .serial_number(1)
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=30))
            .sign(self._key, hashes.SHA256())
        )
        return {self._id: certificate.public_bytes(serialization.Encoding.PEM).decode()}
