"""Which target a config means, with its credentials. Must not connect."""

from collections.abc import Callable, Mapping
from pathlib import Path

from retrain.signing import Secret
from retrain.target.airflow import Airflow
from retrain.target.exchange import Target
from retrain.target.github import Github
from retrain.target.prefect import Prefect
from retrain.target.webhook import Webhook
from schemas.config.targets import AirflowConfig, GithubConfig, PrefectConfig, TargetConfig
from schemas.errors import ConfigError

__all__ = ["choose_target", "read_credential"]

CREDENTIAL_LENGTH_MAX = 8_192
"""Tokens of some identity providers have several thousand characters."""


def choose_target(config: TargetConfig, secret: Secret | None, credential: Callable[[str], str]) -> Target:
    """Return the target that a config means.

    Args:
        config: the section `retrain.target`.
        secret: signs a webhook; not used by the others.
        credential: name of a variable -> password or token; only what the target needs is asked for.

    Raises:
        ConfigError: a webhook without a secret, or what `credential` raises.
    """
    if isinstance(config, AirflowConfig):
        return Airflow(
            config.url, config.dag_id, config.user or "", credential(config.token_env or config.password_env)
        )
    if isinstance(config, GithubConfig):
        return Github(config.url, config.repository, config.workflow, config.ref, credential(config.token_env))
    if isinstance(config, PrefectConfig):
        return Prefect(config.url, config.deployment, credential(config.api_key_env) if config.api_key_env else "")
    if secret is None:
        raise ConfigError("has no secret, and a webhook is signed", where="retrain.target")
    return Webhook(config.url, secret)


def read_credential(name: str, environ: Mapping[str, str]) -> str:
    """Return the password or token that the variable `name` holds, or the file that `name`_FILE names.

    Raises:
        ConfigError: there is none, or it has characters that no header can hold; it is not repeated.
    """
    where = f"environment variable {name}"
    text = environ.get(name, "")
    if file := environ.get(f"{name}_FILE"):
        where = f"{where}_FILE"
        try:
            with Path(file).open(encoding="utf-8") as stream:
                text = stream.read(CREDENTIAL_LENGTH_MAX + 2)
        except OSError as error:
            raise ConfigError(f"the file it names cannot be read: {error.strerror}", where=where) from None
        except UnicodeDecodeError:
            raise ConfigError("the file it names is no text in UTF-8", where=where) from None
    text = text.strip("\r\n")
    if not text.strip():
        raise ConfigError(
            "holds no password or token", where=where, hint=f"Set {name}, or {name}_FILE to a file's name."
        )
    if len(text) > CREDENTIAL_LENGTH_MAX or not text.isprintable():
        raise ConfigError("holds what is no password or token: control characters, or far too many", where=where)
    return text
