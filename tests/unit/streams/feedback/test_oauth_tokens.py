"""Tokens of OAuth for Faust's client: asked for when they are due, and what is said when there is none."""

import asyncio
import json

import pytest
from aiokafka.errors import KafkaConnectionError
from token_endpoint import CLIENT, SECRET, Issuer, issuing, unsigned_token

from streams.feedback.oauth_tokens import OAuthTokens, TokenEndpoint

NOW_S = 1_790_000_000.0


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now_s = 50.0

    def __call__(self) -> float:
        """Return the time in seconds."""
        return self.now_s


def tokens(issuer: Issuer, clock: Clock, secret: str = SECRET, **parts: object) -> OAuthTokens:
    """Return tokens of an endpoint."""
    return OAuthTokens(TokenEndpoint(issuer.url, CLIENT, secret, **parts), clock, lambda: NOW_S)  # type: ignore[arg-type]


def test_one_token_serves_until_most_of_its_life_is_over() -> None:
    """However many connections ask at once."""

    async def ask(issuer: Issuer) -> None:
        clock = Clock()
        source = tokens(issuer, clock, scope="kafka all", extensions={"logicalCluster": "lkc-1"})
        first = await asyncio.gather(*(source.token() for _ in range(5)))
        assert len(set(first)) == 1
        clock.now_s += 479
        assert await source.token() == first[0]
        assert len(issuer.asked) == 1
        clock.now_s += 1
        await asyncio.gather(source.token(), source.token())
        assert issuer.asked == [{"grant_type": ["client_credentials"], "scope": ["kafka all"]}] * 2
        assert source.extensions() == {"logicalCluster": "lkc-1"}

    with issuing() as issuer:
        asyncio.run(ask(issuer))


@pytest.mark.parametrize(
    ("document", "life_s"),
    [
        ({"access_token": "t", "expires_in": 1000}, 1000),
        ({"access_token": unsigned_token("u", NOW_S, 100.0)}, 100),
        ({"access_token": unsigned_token("u", NOW_S, 100.0), "expires_in": True}, 100),
        ({"access_token": "opaque"}, 300),
        ({"access_token": "a.%%.b", "expires_in": "soon"}, 300),
        ({"access_token": "a.W10.b"}, 300),
    ],
)
def test_the_life_of_a_token(document: dict[str, object], life_s: float) -> None:
    """As the endpoint says, as the token says, or five minutes."""
    clock = Clock()
    with issuing() as issuer:
        issuer.answer = (200, json.dumps(document).encode())
        source = tokens(issuer, clock)
        asyncio.run(source.token())
        clock.now_s += 0.8 * life_s - 0.5
        asyncio.run(source.token())
        assert len(issuer.asked) == 1
        clock.now_s += 1
        asyncio.run(source.token())
        assert len(issuer.asked) == 2


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ((500, b""), "answers HTTP 500"),
        ((302, b""), "answers HTTP 302"),
        ((200, b"<html>"), "answers without an access_token"),
        ((200, b"[]"), "answers without an access_token"),
        ((200, b'{"access_token": 5}'), "answers without an access_token"),
        ((200, b'{"access_token": ""}'), "answers without an access_token"),
    ],
)
def test_an_endpoint_that_gives_none(answer: tuple[int, bytes], says: str) -> None:
    """The client tries again; the setting is named, and no secret."""
    with issuing() as issuer:
        issuer.answer = answer
        source = tokens(issuer, Clock())
        with pytest.raises(KafkaConnectionError, match=says) as caught:
            asyncio.run(source.token())
        assert "sasl.oauthbearer.token.endpoint.url" in str(caught.value)
        assert SECRET not in str(caught.value)
        issuer.answer = None
        assert asyncio.run(source.token())


def test_wrong_credentials_and_nobody_there() -> None:
    """Both are said."""
    with issuing() as issuer:
        with pytest.raises(KafkaConnectionError, match="HTTP 401: check the client's id, its secret"):
            asyncio.run(tokens(issuer, Clock(), "wrong").token())
        gone = tokens(issuer, Clock())
    with pytest.raises(KafkaConnectionError, match="does not answer"):
        asyncio.run(gone.token())
