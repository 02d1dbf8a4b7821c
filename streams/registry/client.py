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
from urllib.error import URLError
from urllib.parse import quote
from urllib.request import HTTPHandler, HTTPSHandler, OpenerDirector, ProxyHandler, Request
from uuid import UUID

from schemas.base.secret import read_credential
from schemas.config.registry import SchemaRegistryConfig
from schemas.errors import ConfigError, RegistryAway
from streams.readers.schema_id import GlobalId, SchemaId
from streams.registry.catalog import SchemaVersion

__all__ = ["ReferencedSchema", "RegisteredSchema", "RegistryClient"]

TIMEOUT_S: Final = 10.0
ANSWER_BYTES_MAX: Final = 8 * 1024 * 1024
REFERENCES_MAX: Final = 200
"""Schemas that one schema may stand on, each counted once."""

_AVRO_TYPES: Final = frozenset({"record", "error", "enum", "fixed", "map"})
"""Types that no JSON Schema has."""
_NO_OBJECT: Final = "answers something that is no JSON object: is it the URL of the registry's API?"


@dataclass(frozen=True)
class ReferencedSchema:
    """A schema that another one names.

    Attributes:
        name: that it is named by: of an Avro type, or of the file that Protobuf imports.
    """

    name: str
    text: str


@dataclass(frozen=True)
class RegisteredSchema:
    """A schema, and those that it stands on.

    Attributes:
        form: AVRO, PROTOBUF or JSON.
        referenced: in an order in which each names only those before it.
    """

    form: str
    text: str
    referenced: tuple[ReferencedSchema, ...] = ()


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
        self._headers = {"Accept": "application/vnd.schemaregistry.v1+json, application/json"}
        if (authorization := _authorization(config, environ)) is not None:
            self._headers["Authorization"] = authorization
        self._opener = _opener(config, folder)

    def schema(self, schema: SchemaId) -> RegisteredSchema | None:
        """Return a schema; None if the registry knows none.

        Raises:
            RegistryAway: it does not answer, or not as a registry does, or it has no ids of this sort.
        """
        if isinstance(schema, GlobalId):
            found = self._global_schema(schema)
        else:
            found = self._object(f"/schemas/{'guids' if isinstance(schema, UUID) else 'ids'}/{schema}")
        if found is None:
            return None
        referenced: list[ReferencedSchema] = []
        self._collect(found, referenced, set())
        return RegisteredSchema(str(found.get("schemaType") or "AVRO"), self._text(found), tuple(referenced))

    def versions(self, number: int) -> list[SchemaVersion]:
        """Return the subjects and versions that a schema is registered under.

        Raises:
            RegistryAway: as of `schema`.
        """
        found = self._get(f"/schemas/ids/{number}/versions")
        if found is None:
            return []
        try:
            return [SchemaVersion(str(one["subject"]), int(one["version"]), number) for one in found]
        except (TypeError, KeyError, ValueError):
            raise self._away("its answer has versions of another form") from None

    def newest(self, subject: str) -> SchemaVersion | None:
        """Return the newest version of a subject; None if there is none.

        Raises:
            RegistryAway: as of `schema`.
        """
        found = self._object(f"/subjects/{quote(subject, safe='')}/versions/latest")
        if found is None:
            return None
        try:
            return SchemaVersion(subject, int(found["version"]), int(found["id"]))
        except (TypeError, KeyError, ValueError):
            raise self._away("its answer has a version of another form") from None

    def _global_schema(self, schema: GlobalId) -> dict[str, Any] | None:
        """Return a schema by Apicurio's own API, in the form of Confluent's."""
        root, separator, _ = self._config.url.partition("/apis/ccompat/")
        if not separator:
            raise self._away(
                f"a record has a schema {schema}, which is an id of Apicurio's",
                "Give the URL of Apicurio's Confluent API, or let its serializers write 4 bytes of a content id.",
            )
        own = f"{root}/apis/registry/v2"
        content = self._body(f"{own}/ids/globalIds/{schema.number}")
        if content is None:
            return None
        references = self._request(f"{own}/ids/globalIds/{schema.number}/references")
        try:
            named = [
                {"name": one["name"], "subject": one["artifactId"], "version": one["version"]}
                for one in references or ()
            ]
            text = content.decode()
        except (TypeError, KeyError, LookupError, UnicodeDecodeError):
            raise self._away("its answer has a schema of another form") from None
        return {"schemaType": _form_of(text), "schema": text, "references": named}

    def _collect(
        self, schema: Mapping[str, Any], referenced: list[ReferencedSchema], seen: set[tuple[str, int]]
    ) -> None:
        """Add the schemas that a schema names, each after those that it names itself."""
        for name, subject, version in self._references(schema):
            if (subject, version) in seen:
                continue
            seen.add((subject, version))
            found = self._object(f"/subjects/{quote(subject, safe='')}/versions/{version}")
            if found is None or len(seen) > REFERENCES_MAX:
                raise self._away(f"a schema names version {version} of {subject!r:.200}, which cannot be read")
            self._collect(found, referenced, seen)
            referenced.append(ReferencedSchema(name, self._text(found)))

    def _references(self, schema: Mapping[str, Any]) -> list[tuple[str, str, int]]:
        """Return the name, subject and version of each schema that a schema names."""
        try:
            found = schema.get("references") or ()
            return [(str(one["name"]), str(one["subject"]), int(one["version"])) for one in found]
        except (TypeError, KeyError, ValueError):
            raise self._away("its answer has references of another form") from None

    def _text(self, found: Mapping[str, Any]) -> str:
        text = found.get("schema")
        if not isinstance(text, str):
            raise self._away("its answer has no schema")
        return text

    def _object(self, path: str) -> dict[str, Any] | None:
        found = self._get(path)
        if found is not None and not isinstance(found, dict):
            raise self._away(_NO_OBJECT)
        return found

    def _get(self, path: str) -> Any:  # noqa: ANN401 - any JSON
        """Return the JSON document at a path of the API; None if the registry says that there is none."""
        return self._request(self._config.url + path)

    def _request(self, url: str) -> Any:  # noqa: ANN401 - any JSON
        """Return the JSON document at a URL; None if the registry says that there is none."""
        body = self._body(url)
        return None if body is None else self._document(body)

    def _body(self, url: str) -> bytes | None:
        """Return what is at a URL; None if the registry says that there is nothing."""
        request = Request(url, headers=self._headers)  # noqa: S310 - the config admits http and https only
        try:
            with self._opener.open(request, timeout=TIMEOUT_S) as answer:
                status, body = int(answer.status), answer.read(ANSWER_BYTES_MAX)
        except URLError as error:
            raise self._away(f"does not answer: {error.reason}") from None
        except (OSError, HTTPException) as error:
            raise self._away(f"does not answer: {type(error).__name__}") from None
        if status == HTTPStatus.OK:
            return bytes(body)
        if status == HTTPStatus.NOT_FOUND:
            # a server that is no registry has no page there either, and says so in HTML or not at all
            document = self._document(body)
            if isinstance(document, dict) and "error_code" in document:
                return None
            raise self._away("has nothing at this path: is it the URL of the registry's API?")
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            name = self._config.secret_env
            advice = f"Check {name}." if name else "Give `user` or `token_env`."
            raise self._away(f"refuses our credentials (HTTP {status})", advice)
        raise self._away(f"answers HTTP {status}")

    def _document(self, body: bytes) -> Any:  # noqa: ANN401 - any JSON
        try:
            document = json.loads(body)
        except ValueError:
            document = None
        if not isinstance(document, (dict, list)):
            raise self._away(_NO_OBJECT)
        return document

    def _away(self, what: str, hint: str = "Check that it runs, and schema_registry in the config.") -> RegistryAway:
        return RegistryAway(what, where=f"schema registry {self._config.url}", hint=hint)


def _form_of(text: str) -> str:
    """Return the form of a schema that is given without it."""
    try:
        schema = json.loads(text)
    except ValueError:
        return "PROTOBUF"
    return "JSON" if isinstance(schema, dict) and schema.get("type") not in _AVRO_TYPES else "AVRO"


def _authorization(config: SchemaRegistryConfig, environ: Mapping[str, str]) -> str | None:
    if config.secret_env is None:
        return None
    secret = read_credential(config.secret_env, environ).encode()
    if config.user is None:
        return f"Bearer {secret.decode('latin-1')}"  # headers are sent as Latin-1: these bytes arrive as they are
    return "Basic " + base64.b64encode(config.user.encode() + b":" + secret).decode()


def _opener(config: SchemaRegistryConfig, folder: Path) -> OpenerDirector:
    """Return what opens URLs, by the proxy that the environment names. Every status is an answer to it.

    So it follows no redirect: our credentials would go to whoever it names.
    """
    opener = OpenerDirector()
    opener.add_handler(ProxyHandler())
    is_secure = config.url.startswith("https://")
    opener.add_handler(HTTPSHandler(context=_tls(config, folder)) if is_secure else HTTPHandler())
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
