"""Creates the target that a config selects, with its credentials."""

from collections.abc import Callable

from retrain.signing import Secret
from retrain.target.airflow import Airflow
from retrain.target.exchange import Target
from retrain.target.github import Github
from retrain.target.prefect import Prefect
from retrain.target.webhook import Webhook
from schemas.config.targets import AirflowConfig, GithubConfig, PrefectConfig, TargetConfig
from schemas.errors import ConfigError

__all__ = ["choose_target"]


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
