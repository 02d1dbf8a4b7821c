"""Endpoints of the feedback role: the receiver of retrain requests, and access to the page. Checked at the start.

Secrets come from environment variables, or from files that these name.
"""

import os
from collections.abc import Mapping
from urllib.parse import urlsplit

from retrain.address_guard import check_url, parse_allowed
from retrain.sender import Receiver
from retrain.signing import Secret, read_secret
from retrain.target.choice import choose_target
from schemas.base.secret import read_credential
from schemas.config.connection import HTTP_TOKEN_VARIABLE
from schemas.config.targets import WebhookConfig
from schemas.errors import ConfigError
from truthloop.config.settings import Settings
from truthloop.page.web.access import Access

__all__ = ["access_of", "receiver_of"]

_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


def receiver_of(settings: Settings, environ: Mapping[str, str]) -> Receiver | None:
    """Return the receiver of retrain requests; None if the config has none.

    Raises:
        ConfigError: a secret is missing or weak, or requests to the URL are not allowed.
    """
    retrain = settings.config.retrain
    if retrain is None:
        return None
    config = retrain.target
    allow = parse_allowed(config.allow)
    check_url(config.url, allow)
    is_signed = isinstance(config, WebhookConfig)
    takes_callbacks = is_signed or config.callback_url is not None or config.completion == "callback"
    secret: Secret | None = read_secret(config.secret_env, environ) if takes_callbacks else None
    target = choose_target(config, secret, lambda name: read_credential(name, environ))
    return Receiver(config.url, secret, allow, server=target)


def access_of(settings: Settings, environ: Mapping[str, str] = os.environ) -> Access:
    """Return who may open the page.

    Raises:
        ConfigError: the page would be open to other machines without a token, the token is too short, or a proxy is to
            name users and without a token anybody could pretend to be that proxy.
    """
    token = environ.get(HTTP_TOKEN_VARIABLE)
    if token is None and (file := environ.get(f"{HTTP_TOKEN_VARIABLE}_FILE")):
        try:
            with open(file, encoding="utf-8") as source:  # noqa: PTH123 - a file named by the environment
                token = source.read().strip()
        except OSError as error:
            raise ConfigError(
                f"the file it names cannot be read: {error.strerror}", where=f"{HTTP_TOKEN_VARIABLE}_FILE"
            ) from None
        except UnicodeDecodeError:
            raise ConfigError("the file it names is not UTF-8 text", where=f"{HTTP_TOKEN_VARIABLE}_FILE") from None
    bind = settings.config.http.bind
    if token is None and urlsplit(f"//{bind}").hostname not in _LOOPBACK and bind not in _LOOPBACK:
        raise ConfigError(
            f"would serve the page to other machines without a token: http.bind is {bind!r}",
            where=str(settings.path),
            hint=f"Set {HTTP_TOKEN_VARIABLE} (or the same name with _FILE) to 16 characters or more, or bind to "
            "127.0.0.1 behind a proxy.",
        )
    header = settings.config.http.user_header
    if header is not None and token is None:
        raise ConfigError(
            f"with http.user_header but no token, anybody who reaches the port can send any user name in {header}",
            where=str(settings.path),
            hint=f"Set {HTTP_TOKEN_VARIABLE} (or the same name with _FILE), and give it to the proxy only.",
        )
    try:
        return Access(tuple(settings.config.http.hosts), token, header)
    except ValueError as error:
        raise ConfigError(str(error), where=HTTP_TOKEN_VARIABLE) from None
