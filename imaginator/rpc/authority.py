"""A certificate authority in a folder, for people who have none: what a daemon needs, and a pair for each user.

::

    CA.pem, CA.key                  the authority; the key is needed only to make more
    imaginator/cert.pem, key.pem    the daemon's; in /etc/ssl all lies where the daemon's flags look for it
    NAME.cert, NAME.key             a user's; in ~/.ssl builder-tool finds them

Nothing is ever overwritten, and keys are readable by their owner alone.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from imaginator.model.errors import ConfigurationError, InvalidRequest
from imaginator.rpc.certificates import Issued, Wish, issue, make_authority

OF_DAEMONS = ("ImageServer.*", "ObjectServer.*")
"""The methods that a daemon calls, of an image server that is somewhere else."""

_USER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]*")


class Authority:
    """The authority in ``folder``, which is made where it is missing, together with the daemon's certificate.

    The certificate is for the host name ``daemon``, and for the local host. Raises `ConfigurationError` for an
    authority whose key is elsewhere, or whose files are no good.
    """

    def __init__(self, folder: Path, daemon: str) -> None:
        self.folder = folder
        self.made: list[Path] = []
        folder.mkdir(parents=True, exist_ok=True)
        self._issuer = self._found() or self._founded()
        certificate = folder / "imaginator" / "cert.pem"
        if not certificate.exists():
            certificate.parent.mkdir(mode=0o700, exist_ok=True)
            wish = Wish(daemon, methods=OF_DAEMONS, server=True)
            self._write(self._issue(wish), certificate, certificate.with_name("key.pem"))

    def certify(self, wish: Wish) -> None:
        """Make a user's certificate; raises `InvalidRequest` for one that there is, or a name that no file can have."""
        if not _USER.fullmatch(wish.user):
            raise InvalidRequest(f"user {wish.user!r}: expected letters, digits and ._@+-, a letter or digit first")
        certificate = self.folder / f"{wish.user}.cert"
        for path in (certificate, certificate.with_suffix(".key")):
            if path.exists():
                raise InvalidRequest(f"{path}: is there already, and nothing is overwritten")
        self._write(self._issue(wish), certificate, certificate.with_suffix(".key"))

    def _found(self) -> Issued | None:
        certificate, key = self.folder / "CA.pem", self.folder / "CA.key"
        if not certificate.exists():
            return None
        if not key.exists():
            raise ConfigurationError(str(key), f"no such file: the key of {certificate} is needed to sign with")
        try:
            found = Issued(x509.load_pem_x509_certificate(certificate.read_bytes()), _key(key))
        except ValueError as error:
            raise ConfigurationError(str(self.folder), f"CA.pem and CA.key: {error}") from None
        if found.certificate.public_key() != found.key.public_key():
            raise ConfigurationError(str(key), f"not the key of {certificate}")
        return found

    def _founded(self) -> Issued:
        founded = make_authority("imaginator authority")
        self._write(founded, self.folder / "CA.pem", self.folder / "CA.key")
        return founded

    def _issue(self, wish: Wish) -> Issued:
        return issue(self._issuer, wish)

    def _write(self, issued: Issued, certificate: Path, key: Path) -> None:
        # The key first: what is found of a run that was cut off is a key without a use.
        _create(key, issued.key_pem(), 0o600)
        _create(certificate, issued.certificate_pem(), 0o644)
        self.made += [certificate, key]


def _key(path: Path) -> ec.EllipticCurvePrivateKey:
    key = load_pem_private_key(path.read_bytes(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("expected a key of an elliptic curve, as this program makes them")
    return key


def _create(path: Path, data: bytes, mode: int) -> None:
    """Write a new file; raises `FileExistsError`."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(data)
