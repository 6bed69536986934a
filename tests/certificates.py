"""An authority that signs certificates with the openssl command, and tokens that nobody signs."""

from __future__ import annotations

import base64
import json
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

EXTENSIONS = """basicConstraints=CA:FALSE
extendedKeyUsage=serverAuth,clientAuth
subjectAltName={names}
"""


@dataclass(frozen=True)
class Identity:
    """A certificate, its key, and both in one file, as Kafka's PEM stores want them."""

    certificate: Path
    key: Path
    both: Path


class Authority:
    """Signs for 127.0.0.1 unless told otherwise."""

    def __init__(self, folder: Path, name: str = "test authority") -> None:
        self.folder = folder
        self.certificate, self._key = folder / "ca.pem", folder / "ca.key"
        _openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                 "-subj", f"/CN={name}",
                 "-keyout", self._key, "-out", self.certificate)  # fmt: skip

    def issue(self, name: str, *, sans: str = "IP:127.0.0.1,DNS:localhost", key_password: str | None = None,
              expired: bool = False) -> Identity:  # fmt: skip
        """Issue a certificate with this common name; an expired one ended yesterday."""
        key, request, certificate = (self.folder / f"{name}.{kind}" for kind in ("key", "csr", "pem"))
        extensions = self.folder / f"{name}.ext"
        extensions.write_text(EXTENSIONS.format(names=sans))
        _openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", key,
                 *(["-aes-256-cbc", "-pass", f"pass:{key_password}"] if key_password else []))  # fmt: skip
        _openssl("req", "-new", "-key", key, "-subj", f"/CN={name}", "-out", request,
                 *(["-passin", f"pass:{key_password}"] if key_password else []))  # fmt: skip
        period = ["-days", "-1"] if expired else ["-days", "2"]
        _openssl("x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self._key, "-CAcreateserial",
                 "-extfile", extensions, "-out", certificate, *period)  # fmt: skip
        both = self.folder / f"{name}.both"
        both.write_text(key.read_text() + certificate.read_text())
        return Identity(certificate, key, both)


def unsigned_jwt(subject: str, lifetime_s: float) -> str:
    """Return a token as Kafka's development validator takes it: alg none."""
    now = time.time()
    parts = ({"alg": "none"}, {"sub": subject, "iat": now, "exp": now + lifetime_s})
    return ".".join(_base64url(json.dumps(part).encode()) for part in parts) + "."


def _base64url(given: bytes) -> str:
    return base64.urlsafe_b64encode(given).decode().rstrip("=")


def _openssl(*arguments: str | Path) -> None:
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
