"""The one door to the client of object stores, and what the other libraries need to reach the same store.

Endpoint, region and credentials are those of the environment, as every tool of AWS finds them: variables, profiles,
tokens in files, and the services that hand out temporary ones, which are renewed before they expire.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Final

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, CredentialRetrievalError, NoCredentialsError

from lake.failure import lake_error

__all__ = ["client", "code_of", "delta_options", "polars_options", "told"]

HINT: Final = "See that the store answers and lets this process read and write; it is tried again."

_REFUSED: Final = {"ExpiredToken", "InvalidToken", "InvalidAccessKeyId"}
"""Codes by which a store says that it does not take these credentials any more."""

CONNECTIONS_MAX = 32
RETRY_TIMEOUT = "30s"
ATTEMPTS = 8
"""Of one request: the client waits longer before each, at most 20 s."""


@cache
def _session() -> botocore.session.Session:
    return botocore.session.get_session()


@cache
def client() -> Any:  # noqa: ANN401 - botocore makes its classes when it runs
    """Return the client; threads may share it."""
    session = _session()
    config = Config(
        max_pool_connections=CONNECTIONS_MAX,
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        connect_timeout=5,
        read_timeout=30,
        # other stores than Amazon's know neither its check sums nor its host names
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"addressing_style": "path"} if _endpoint() else {},
    )
    return session.create_client("s3", config=config, region_name=_region())


def _endpoint() -> str | None:
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")


def _region() -> str:
    found = os.environ.get("AWS_REGION") or _session().get_config_variable("region")
    return str(found or "us-east-1")


def code_of(error: ClientError) -> str:
    """Return the code by which the store says why it refuses."""
    return str(error.response.get("Error", {}).get("Code"))


@contextmanager
def told(what: str, where: str) -> Iterator[None]:
    """Raise what the client raises as a `LakeError`.

    Where credentials are refused or cannot be had, the next request looks for them anew: a file may have new ones.
    """
    try:
        yield
    except (ClientError, BotoCoreError, RuntimeError) as error:
        cause = error
        if isinstance(error, RuntimeError):  # a renewal has brought credentials that have expired, too
            cause = CredentialRetrievalError(provider="the one in use", error_msg=str(error))
        is_without = isinstance(cause, NoCredentialsError | CredentialRetrievalError)
        if is_without or (isinstance(cause, ClientError) and code_of(cause) in _REFUSED):
            client.cache_clear()
            _session.cache_clear()
        raise lake_error(what, cause, where, HINT) from cause


def delta_options() -> dict[str, str]:
    """Return the options of the Delta library, which finds credentials as the client does, and renews them."""
    # of a store with an address of its own, it would look for them in the environment alone
    return _options() | {"aws_conditional_put": "etag", "aws_force_credential_load": "true"}


def polars_options() -> dict[str, Any]:
    """Return the arguments of a scan of Polars: it asks for credentials when it runs, however old it is by then."""
    return {"storage_options": _options(), "credential_provider": _polars_credentials}


def _options() -> dict[str, str]:
    options = {"aws_region": _region(), "retry_timeout": RETRY_TIMEOUT}
    if endpoint := _endpoint():
        options |= {"aws_endpoint_url": endpoint}
        if endpoint.startswith("http://"):
            options |= {"aws_allow_http": "true"}
    return options


def _polars_credentials() -> tuple[dict[str, str | None], int]:
    """Return the credentials, renewed if need be, and when to ask for them again: Unix time, in seconds.

    Raises:
        LakeError: there are none.
    """
    with told("cannot be read", "object store"):
        found = _session().get_credentials()
        if found is None:
            raise NoCredentialsError
        frozen = found.get_frozen_credentials()
    credentials = {"aws_access_key_id": frozen.access_key, "aws_secret_access_key": frozen.secret_key}
    return credentials | ({"aws_session_token": frozen.token} if frozen.token else {}), int(time.time()) + 1
