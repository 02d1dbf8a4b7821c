"""Creates the target that a config selects, with its credentials."""

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
    """Create the target of a config.

    Args:
        config: the section `retrain.target`.
        secret: signs a webhook; the other targets do not use it.
        credential: name of a variable -> password or token; called for those that the target needs.

    Raises:
        ConfigError: a webhook has no secret, or `credential` raises it.
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
        raise ConfigError("has no secret, which a webhook is signed with", where="retrain.target")
    return Webhook(config.url, secret)


def read_credential(name: str, environ: Mapping[str, str]) -> str:
    """Return the password or token from the variable `name`, or from the file that `name`_FILE names.

    Raises:
        ConfigError: there is none, or it has characters that a header cannot hold; the message does not repeat it.
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
            raise ConfigError("the file it names is not UTF-8 text", where=where) from None
    text = text.strip("\r\n")
    if not text.strip():
        raise ConfigError(
            "holds no password or token", where=where, hint=f"Set {name}, or {name}_FILE to a file's name."
        )
    if len(text) > CREDENTIAL_LENGTH_MAX or not text.isprintable():
        raise ConfigError("is not a password or token: it has control characters, or is far too long", where=where)
    return text
