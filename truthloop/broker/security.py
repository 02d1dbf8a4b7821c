"""TLS and a password for the local broker, to test clients with both.

The certificate is self-signed and belongs to one broker's folder. Only for a broker on loopback: the password is in the
broker's settings, readable for their owner.
"""

import os
import re
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from truthloop.broker.node import HOST, LISTENER, run_tool

__all__ = ["BrokerSecurity"]

_LOGIN = "org.apache.kafka.common.security.plain.PlainLoginModule"
_CERTIFICATE = "ca.pem"


@dataclass(frozen=True)
class BrokerSecurity:
    """Makes a broker accept only clients that use TLS and know the password (SASL PLAIN).

    Attributes:
        username: letters, digits and `-._~`.
        password: the same characters; random by default.
    """

    username: str = "truthloop"
    password: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)

    def __post_init__(self) -> None:
        for value in (self.username, self.password):
            if not re.fullmatch(r"[A-Za-z0-9._~-]+", value):
                raise ValueError("user name and password of a local broker are letters, digits and -._~")

    def client_properties(self, folder: Path) -> dict[str, str]:
        """Return the properties that a client of librdkafka needs in addition to the address."""
        return {
            "security.protocol": "SASL_SSL",
            "ssl.ca.location": str(folder / _CERTIFICATE),
            "sasl.mechanism": "PLAIN",
            "sasl.username": self.username,
            "sasl.password": self.password,
        }

    def node_properties(self, folder: Path, java_home: Path) -> dict[str, str]:
        """Return Kafka's properties for a secured listener; creates its certificate if there is none.

        Raises:
            BrokerError: the certificate cannot be created.
        """
        store, secret = folder / "broker.p12", folder / "broker.p12.password"
        if not (folder / _CERTIFICATE).exists():
            _make_certificate(java_home / "bin" / "keytool", store, secret, folder / _CERTIFICATE)
        user = f'username="{self.username}" password="{self.password}" user_{self.username}="{self.password}"'
        return {
            "listener.security.protocol.map": f"{LISTENER}:SASL_SSL,CONTROLLER:PLAINTEXT",
            "sasl.enabled.mechanisms": "PLAIN",
            "sasl.mechanism.inter.broker.protocol": "PLAIN",
            f"listener.name.{LISTENER.lower()}.plain.sasl.jaas.config": f"{_LOGIN} required {user};",
            "ssl.keystore.type": "PKCS12",
            "ssl.keystore.location": str(store),
            "ssl.keystore.password": secret.read_text("ascii"),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(folder / _CERTIFICATE),
        }


def _make_certificate(keytool: Path, store: Path, secret: Path, certificate: Path) -> None:
    """Create a key and a self-signed certificate for loopback; the certificate's file is written last, atomically."""
    with open(os.open(secret, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as file:  # noqa: PTH123 - by descriptor
        file.write(secrets.token_urlsafe(24))
    store.unlink(missing_ok=True)
    common = ["-alias", "broker", "-keystore", str(store), "-storetype", "PKCS12", "-storepass:file", str(secret)]
    names = ["-dname", "CN=Truthloop local broker", "-ext", f"san=ip:{HOST},dns:localhost", "-ext", "bc=ca:true"]
    key = ["-keyalg", "EC", "-groupname", "secp256r1", "-validity", "3650"]
    part = certificate.with_suffix(".part")
    for arguments in (["-genkeypair", *key, *names], ["-exportcert", "-rfc", "-file", str(part)]):
        command = [str(keytool), "-J-XX:TieredStopAtLevel=1", *arguments, *common]
        run_tool(command, "create its certificate")
    store.chmod(0o600)
    part.replace(certificate)
