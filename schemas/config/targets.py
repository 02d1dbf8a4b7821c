"""Config of the target of retrains: a signed webhook, Airflow, GitHub Actions or Prefect.

Secrets are not in the config: `secret_env`, `token_env` and their like name an environment variable; with the suffix
`_FILE`, the variable names a file.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, model_validator

from schemas.base.duration_field import DurationMs
from schemas.base.model import StrictModel
from schemas.base.problem import Problem, ProblemsError, nearest

__all__ = [
    "AIRFLOW_PASSWORD_VARIABLE",
    "GITHUB_TOKEN_VARIABLE",
    "TARGET_KINDS",
    "WEBHOOK_SECRET_VARIABLE",
    "AirflowConfig",
    "GithubConfig",
    "PrefectConfig",
    "TargetConfig",
    "WebhookConfig",
]

DAY_MS = 86_400_000
WEBHOOK_SECRET_VARIABLE = "TRUTHLOOP_WEBHOOK_SECRET"  # noqa: S105 - the name of the variable, not the secret
AIRFLOW_PASSWORD_VARIABLE = "TRUTHLOOP_AIRFLOW_PASSWORD"  # noqa: S105 - the same
GITHUB_TOKEN_VARIABLE = "TRUTHLOOP_GITHUB_TOKEN"  # noqa: S105 - the same

TARGET_KINDS = ("webhook", "airflow", "github", "prefect")

VARIABLE_PATTERN = r"^[A-Z_][A-Z0-9_]{0,99}$"
DAG_PATTERN = r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,249}$"
REPOSITORY_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,38}/[A-Za-z0-9_.-]{0,98}[A-Za-z0-9_-]$"
WORKFLOW_PATTERN = r"^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,199}\.ya?ml$"
DEPLOYMENT_PATTERN = (
    r"^[^/%\u0000-\u001f]{1,200}/[^/%\u0000-\u001f]{1,200}$|^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
)
"""`FLOW/DEPLOYMENT` or an id; Prefect itself forbids `/` and `%` in names."""

_HOST_AND_PORT = re.compile(r"(?:\[[0-9A-Fa-f:]+\]|[A-Za-z0-9.-]+):[0-9]{1,5}")


def _host_and_port(text: str) -> str:
    if not _HOST_AND_PORT.fullmatch(text):
        raise ValueError(f"{text!r} is not HOST:PORT")
    return text


def _base_url(text: str) -> str:
    if "?" in text or "#" in text:
        raise ValueError("must end before any ? or #: paths are appended to it")
    return text.rstrip("/")


Url = Annotated[str, Field(min_length=1, max_length=2_000)]
BaseUrl = Annotated[Url, AfterValidator(_base_url)]
Variable = Annotated[str, Field(pattern=VARIABLE_PATTERN)]


class _Target(StrictModel):
    """Fields of all targets."""

    secret_env: Variable = Field(
        default=WEBHOOK_SECRET_VARIABLE,
        description="Variable with the secret (whsec_...) that signs requests and callbacks; with the suffix "
        "_FILE, variable that names its file.",
    )
    allow: list[Annotated[str, AfterValidator(_host_and_port)]] = Field(
        default_factory=list,
        description="HOST:PORT inside your own network that requests may be sent to; others there are refused.",
    )
    callback_url: Url | None = Field(
        default=None,
        description="URL at which the pipeline reaches this loop's /v1/callback; left out, requests name none.",
    )
    overdue: DurationMs = Field(
        default=3 * DAY_MS, gt=0, description="A retrain that is not done this long after the request is overdue."
    )


class _Server(_Target):
    """Fields of targets whose runs can be polled."""

    completion: Literal["polling", "first_predictions", "callback"] = Field(
        default="polling",
        description="polling: done when the server reports that the run succeeded; first_predictions: when another "
        "version predicts, or the server reports that the run failed; callback: when the pipeline reports it.",
    )


class WebhookConfig(_Target):
    """A signed HTTP request (Standard Webhooks)."""

    kind: Literal["webhook"] = Field(default="webhook", description="A signed HTTP request (Standard Webhooks).")
    url: Url = Field(description="https://..., or http:// on this machine's loopback.")
    completion: Literal["first_predictions", "callback"] = Field(
        default="first_predictions",
        description="first_predictions: done when another version predicts; callback: when the pipeline reports it.",
    )


class AirflowConfig(_Server):
    """A DAG of Airflow 3, run by its REST API."""

    kind: Literal["airflow"] = Field(description="A DAG of Airflow 3.")
    url: BaseUrl = Field(description="URL of the API server, without /api/v2: https://..., or http:// on loopback.")
    dag_id: str = Field(pattern=DAG_PATTERN, description="The DAG that is run; the request is its conf.")
    user: str | None = Field(
        default=None, min_length=1, max_length=200, description="User that logs in for a token at /auth/token."
    )
    password_env: Variable = Field(
        default=AIRFLOW_PASSWORD_VARIABLE,
        description="Variable with the user's password; with the suffix _FILE, variable that names its file.",
    )
    token_env: Variable | None = Field(
        default=None, description="Instead of a user: variable with a token that is sent as it is; _FILE as above."
    )

    @model_validator(mode="after")
    def _has_one_way_in(self) -> "AirflowConfig":
        if (self.user is None) == (self.token_env is None):
            raise ValueError("needs either `user` or `token_env`")
        return self


class GithubConfig(_Server):
    """A workflow of GitHub Actions, run by workflow_dispatch."""

    kind: Literal["github"] = Field(description="A workflow of GitHub Actions.")
    url: BaseUrl = Field(
        default="https://api.github.com",
        description="URL of the REST API; that of GitHub Enterprise Server ends in /api/v3.",
    )
    repository: str = Field(pattern=REPOSITORY_PATTERN, description="OWNER/NAME.")
    workflow: str = Field(
        pattern=WORKFLOW_PATTERN,
        description="File in .github/workflows with `on: workflow_dispatch` and the inputs `decision` and `request`; "
        "its run-name holds the decision.",
    )
    ref: str = Field(
        default="main", min_length=1, max_length=255, pattern=r"^\S+$", description="Branch or tag that is run."
    )
    token_env: Variable = Field(
        default=GITHUB_TOKEN_VARIABLE,
        description="Variable with a token that may write Actions of this repository; with the suffix _FILE, variable "
        "that names its file.",
    )


class PrefectConfig(_Server):
    """A deployment of Prefect 3."""

    kind: Literal["prefect"] = Field(description="A deployment of Prefect 3.")
    url: BaseUrl = Field(description="URL of the API, such as https://HOST/api: https://..., or http:// on loopback.")
    deployment: str = Field(
        pattern=DEPLOYMENT_PATTERN, description="FLOW/DEPLOYMENT or its id; the flow takes a parameter `request`."
    )
    api_key_env: Variable | None = Field(
        default=None, description="Variable with an API key; with the suffix _FILE, variable that names its file."
    )


def _known_kind(value: Any) -> Any:  # noqa: ANN401 - any YAML value
    kind = value.get("kind", "webhook") if isinstance(value, dict) else "webhook"
    if kind not in TARGET_KINDS:
        best = nearest(kind, TARGET_KINDS) if isinstance(kind, str) else None
        meant = f"; did you mean {best!r}?" if best else ""
        raise ProblemsError([Problem(("kind",), f"must be one of {', '.join(TARGET_KINDS)}, not {kind!r:.60}{meant}")])
    return value


def _kind_of(value: Any) -> str:  # noqa: ANN401 - the same
    kind = value.get("kind", "webhook") if isinstance(value, dict) else getattr(value, "kind", "webhook")
    return str(kind)


TargetConfig = Annotated[
    Annotated[WebhookConfig, Tag("webhook")]
    | Annotated[AirflowConfig, Tag("airflow")]
    | Annotated[GithubConfig, Tag("github")]
    | Annotated[PrefectConfig, Tag("prefect")],
    Discriminator(_kind_of),
    BeforeValidator(_known_kind),
]
"""Discriminated by `kind`; the default is a webhook."""
