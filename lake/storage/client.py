"""The one door to the client of object stores, and what the other libraries need to reach the same store.

Endpoint, region and credentials are those of the environment, as every tool of AWS finds them: variables, profiles,
tokens in files, and the services that hand out temporary ones, which are renewed before they expire.
"""

import os
from functools import cache
from typing import Any

import botocore.session
from botocore.config import Config

from schemas.errors import LakeError

__all__ = ["client", "delta_options", "polars_options"]

CREDENTIALS_HINT = (
    "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or a role: docs/operations.md, Object storage."
)

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


def delta_options() -> dict[str, str]:
    """Return the options of the Delta library and of Polars; their credentials are those of the environment, too."""
    options = {"aws_region": _region(), "aws_conditional_put": "etag", "retry_timeout": RETRY_TIMEOUT}
    if endpoint := _endpoint():
        options |= {"aws_endpoint_url": endpoint}
        if endpoint.startswith("http://"):
            options |= {"aws_allow_http": "true"}
    return options


def polars_options() -> dict[str, str]:
    """Return the options of Polars: with the present credentials, which are valid for minutes.

    Raises:
        LakeError: there are none.
    """
    found = _session().get_credentials()
    if found is None:
        raise LakeError("there are no credentials for the object store", hint=CREDENTIALS_HINT)
    frozen = found.get_frozen_credentials()
    options = {**delta_options(), "aws_access_key_id": frozen.access_key, "aws_secret_access_key": frozen.secret_key}
    return options | ({"aws_session_token": frozen.token} if frozen.token else {})
