"""Tokens of OAuth for Faust's client: asked of the endpoint that librdkafka asks for the other roles, and kept.

Client credentials grant: https://www.rfc-editor.org/rfc/rfc6749#section-4.4
"""

import asyncio
import base64
import binascii
import json
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaConnectionError

__all__ = ["OAuthTokens", "TokenEndpoint"]

TIMEOUT_S: Final = 10.0
ANSWER_BYTES_MAX: Final = 1024 * 1024
KEPT_SHARE: Final = 0.8
"""Part of its life for which a token is used."""
LIFE_S: Final = 300.0
"""Of a token that does not say it."""


@dataclass(frozen=True)
class TokenEndpoint:
    """Where tokens come from, and who asks for them.

    Attributes:
        scope: of the token; empty: what the endpoint gives by default.
        extensions: sent to the brokers with the token.
        context: of TLS; None for http.
    """

    url: str
    client_id: str
    client_secret: str = field(repr=False)
    scope: str = ""
    extensions: Mapping[str, str] = field(default_factory=dict)
    context: ssl.SSLContext | None = None


class OAuthTokens(AbstractTokenProvider):  # type: ignore[misc]
    """Gives one token to all connections, and asks for another when most of its life is over.

    Args:
        clock: a monotonic clock, in seconds.
        now_s: the wall clock, in epoch seconds, which tokens' ends are in.
    """

    def __init__(
        self,
        endpoint: TokenEndpoint,
        clock: Callable[[], float] = time.monotonic,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._endpoint = endpoint
        self._clock = clock
        self._now_s = now_s
        self._token = ""
        self._until_s = 0.0
        self._lock = asyncio.Lock()

    async def token(self) -> str:
        """Return a token that is valid.

        Raises:
            KafkaConnectionError: the endpoint gives none; the client tries again.
        """
        async with self._lock:
            if not self._token or self._clock() >= self._until_s:
                self._token, life_s = await self._fetch()
                self._until_s = self._clock() + KEPT_SHARE * life_s
            return self._token

    def extensions(self) -> dict[str, str]:
        """Return what is sent to the brokers with the token."""
        return dict(self._endpoint.extensions)

    async def _fetch(self) -> tuple[str, float]:
        """Return a new token and its life in seconds."""
        endpoint = self._endpoint
        form = {"grant_type": "client_credentials", **({"scope": endpoint.scope} if endpoint.scope else {})}
        login = base64.b64encode(f"{endpoint.client_id}:{endpoint.client_secret}".encode()).decode()
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout, trust_env=True) as session,
                session.post(
                    endpoint.url,
                    data=form,
                    headers={"Accept": "application/json", "Authorization": f"Basic {login}"},
                    ssl=endpoint.context or True,
                    allow_redirects=False,
                ) as answer,
            ):
                status, body = answer.status, await answer.content.read(ANSWER_BYTES_MAX)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise self._failed(f"does not answer ({type(error).__name__})") from None
        if status != 200:  # noqa: PLR2004 - HTTP's OK
            raise self._failed(f"answers HTTP {status}: check the client's id, its secret and the scope")
        try:
            document = json.loads(body)
            token = document["access_token"]
        except (ValueError, KeyError, TypeError):
            token = None
        if not isinstance(token, str) or not token:
            raise self._failed("answers without an access_token")
        return token, _life_s(document, token, self._now_s())

    def _failed(self, what: str) -> KafkaConnectionError:
        return KafkaConnectionError(f"kafka.client.sasl.oauthbearer.token.endpoint.url: {self._endpoint.url} {what}")


def _life_s(document: Mapping[str, Any], token: str, now_s: float) -> float:
    """Return how long a token is valid: as the endpoint says, or as the token does itself."""
    given = document.get("expires_in")
    if isinstance(given, (int, float)) and not isinstance(given, bool) and given > 0:
        return float(given)
    try:
        claims = token.split(".")[1]
        end_s = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["exp"]
        return max(0.0, float(end_s) - now_s)
    except (IndexError, KeyError, TypeError, ValueError, binascii.Error):
        return LIFE_S
