"""Asks a Schema Registry for schemas, by the part of Confluent's API that readers need.

https://docs.confluent.io/platform/current/schema-registry/develop/api.html
"""

import base64
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
)

from schemas.base.secret import secret_value
from schemas.config.registry import SchemaRegistryConfig
from schemas.errors import ConfigError, RegistryAway

__all__ = ["RegisteredSchema", "RegistryClient"]

TIMEOUT_S: Final = 10.0
ANSWER_BYTES_MAX: Final = 8 * 1024 * 1024
REFERENCES_MAX: Final = 200
"""Schemas that one schema may stand on, each counted once."""


@dataclass(frozen=True)
class RegisteredSchema:
    """A schema, and those that it names.

    Attributes:
        form: AVRO, PROTOBUF or JSON.
        referenced: their texts, in an order in which each names only those before it.
    """

    form: str
    text: str
    referenced: tuple[str, ...] = ()


class RegistryClient:
    """A client of one registry.

    Args:
        environ: has the password or token, or the name of its file.
        folder: that the names of certificate files begin at.

    Raises:
        ConfigError: a secret is missing, or a certificate cannot be used.
    """

    def __init__(self, config: SchemaRegistryConfig, environ: Mapping[str, str], folder: Path) -> None:
        self._config = config
        self._url = config.url
        self._headers = {"Accept": "application/vnd.schemaregistry.v1+json, application/json"}
        if (authorization := _authorization(config, environ)) is not None:
            self._headers["Authorization"] = authorization
        self._opener = _opener(config, folder)

    def schema(self, number: int) -> RegisteredSchema | None:
        """Return the schema with an id; None if the registry knows none.

        Raises:
            RegistryAway: it does not answer, or not as a registry does.
        """
        found = self._get(f"/schemas/ids/{number}")
        if found is None:
            return None
        texts: list[str] = []
        self._collect(found, texts, set())
        return RegisteredSchema(str(found.get("schemaType") or "AVRO"), self._text(found), tuple(texts))

    def _collect(self, schema: Mapping[str, Any], texts: list[str], seen: set[tuple[str, int]]) -> None:
        """Add the schemas that a schema names, each after those that it names itself."""
        for subject, version in self._references(schema):
            if (subject, version) in seen:
                continue
            seen.add((subject, version))
            found = self._get(f"/subjects/{quote(subject, safe='')}/versions/{version}")
            if found is None or len(seen) > REFERENCES_MAX:
                raise self._away(f"a schema names version {version} of {subject!r:.200}, which cannot be read")
            self._collect(found, texts, seen)
            texts.append(self._text(found))

    def _references(self, schema: Mapping[str, Any]) -> list[tuple[str, int]]:
        try:
            return [(str(one["subject"]), int(one["version"])) for one in schema.get("references") or ()]
        except (TypeError, KeyError, ValueError):
            raise self._away("its answer has references of another form") from None

    def _text(self, found: Mapping[str, Any]) -> str:
        text = found.get("schema")
        if not isinstance(text, str):
            raise self._away("its answer has no schema")
        return text

    def _get(self, path: str) -> dict[str, Any] | None:
        """Return the JSON object at a path; None if the registry says that there is none."""
        try:
            with self._opener.open(Request(self._url + path, headers=self._headers), timeout=TIMEOUT_S) as answer:  # noqa: S310 - the config admits http and https only
                return self._document(answer.read(ANSWER_BYTES_MAX + 1))
        except HTTPError as error:
            with error:
                self._check_missing(error)
            return None
        except URLError as error:
            raise self._away(f"does not answer: {error.reason}") from None
        except (OSError, HTTPException) as error:
            raise self._away(f"does not answer: {type(error).__name__}") from None

    def _check_missing(self, error: HTTPError) -> None:
        """Raise an error unless the registry says that there is no such schema."""
        if error.code == HTTPStatus.NOT_FOUND:
            # a server that is no registry has no page there either, and says so in HTML or not at all
            if "error_code" not in self._document(error.read(ANSWER_BYTES_MAX)):
                raise self._away("has nothing at this path: is it the URL of the registry's API?")
            return
        if error.code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            name = self._config.token_env or (self._config.password_env if self._config.user else None)
            advice = f"Check {name}." if name else "Give `user` or `token_env`."
            raise self._away(f"refuses our credentials (HTTP {error.code})", advice)
        raise self._away(f"answers HTTP {error.code}")

    def _document(self, body: bytes) -> dict[str, Any]:
        try:
            document = json.loads(body)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise self._away("answers something that is no JSON object: is it the URL of the registry's API?")
        return document

    def _away(self, what: str, hint: str = "Check that it runs, and schema_registry in the config.") -> RegistryAway:
        return RegistryAway(what, where=f"schema registry {self._url}", hint=hint)


def _authorization(config: SchemaRegistryConfig, environ: Mapping[str, str]) -> str | None:
    variable = config.token_env or (config.password_env if config.user is not None else None)
    if variable is None:
        return None
    secret = secret_value(environ, variable)
    if secret is None:
        raise ConfigError(
            "is not set; it is the secret of the schema registry",
            where=f"environment variable {variable}",
            hint=f"Set it, or {variable}_FILE to the name of its file.",
        )
    if config.user is None:
        return f"Bearer {secret}"
    return "Basic " + base64.b64encode(f"{config.user}:{secret}".encode()).decode()


def _opener(config: SchemaRegistryConfig, folder: Path) -> OpenerDirector:
    """Return what opens URLs, by the proxy that the environment names; it follows no redirect.

    Our credentials would go to whoever a redirect names.
    """
    opener = OpenerDirector()
    handlers = [ProxyHandler(), HTTPHandler(), HTTPDefaultErrorHandler(), HTTPErrorProcessor()]
    if config.url.startswith("https://"):
        handlers.append(HTTPSHandler(context=_tls(config, folder)))
    for handler in handlers:
        opener.add_handler(handler)
    return opener


def _tls(config: SchemaRegistryConfig, folder: Path) -> ssl.SSLContext:
    name = "ca_file"
    try:
        context = ssl.create_default_context(cafile=_at(folder, config.ca_file))
        if config.certificate_file is not None:
            name = "certificate_file"
            context.load_cert_chain(str(_at(folder, config.certificate_file)), _at(folder, config.key_file))
    except OSError as error:  # ssl.SSLError is one
        detail = error.strerror or type(error).__name__
        raise ConfigError(f"cannot be used: {detail}", where=f"schema_registry.{name}") from None
    return context


def _at(folder: Path, name: str | None) -> str | None:
    return None if name is None else str(folder / name)
