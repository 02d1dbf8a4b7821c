"""The section `retrain.target`: fields of each kind, secrets, and refusals; also `retrain.target.webhook`."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from lake_builder import CONFIG_TEXT

from retrain.target.airflow import Airflow
from retrain.target.choice import choose_target
from retrain.target.github import Github
from retrain.target.prefect import Prefect
from schemas.base.secret import read_credential
from schemas.config.retrain import RetrainConfig
from schemas.config.targets import WebhookConfig
from schemas.errors import ConfigError
from schemas.publish import FOLDER
from truthloop.config.settings import load_settings
from truthloop.feedback.endpoints import receiver_of

SECRET_TEXT = "whsec_" + "c2VjcmV0" * 5
WEBHOOK: dict[str, Any] = {"url": "https://pipeline.example/retrain"}
AIRFLOW: dict[str, Any] = {"kind": "airflow", "url": "https://airflow.example/", "dag_id": "retrain", "user": "loop"}
GITHUB: dict[str, Any] = {"kind": "github", "repository": "acme/models", "workflow": "retrain.yml"}
PREFECT: dict[str, Any] = {"kind": "prefect", "url": "https://prefect.example/api", "deployment": "retrain/prod"}
ALL = [WEBHOOK, AIRFLOW, GITHUB, PREFECT]


def written(folder: Path, target: dict[str, Any], environ: dict[str, str] | None = None) -> Any:
    """Write a loop's config with a target, and return its settings."""
    text = f"{CONFIG_TEXT}retrain: {{target: {json.dumps(target)}}}\n"
    (folder / "truthloop.yaml").write_text(text)
    return load_settings(folder / "truthloop.yaml", environ or {})


def test_a_section_without_a_kind_is_a_webhook() -> None:
    """With its defaults."""
    target = RetrainConfig.model_validate({"target": WEBHOOK}).target
    assert isinstance(target, WebhookConfig)
    assert (target.kind, target.completion, target.overdue) == ("webhook", "first_predictions", 3 * 86_400_000)
    assert target.secret_env == "TRUTHLOOP_WEBHOOK_SECRET"  # noqa: S105 - the name of the variable


@pytest.mark.parametrize("target", [AIRFLOW, GITHUB, PREFECT])
def test_a_server_is_polled_by_default(target: dict[str, Any]) -> None:
    """A webhook cannot be polled."""
    for completion in (None, "polling", "first_predictions", "callback"):
        given = target if completion is None else {**target, "completion": completion}
        assert RetrainConfig.model_validate({"target": given}).target.completion == (completion or "polling")
    with pytest.raises(ValueError, match="first_predictions"):
        RetrainConfig.model_validate({"target": {**WEBHOOK, "completion": "polling"}})


@pytest.mark.parametrize("target", ALL)
def test_editors_know_every_kind(target: dict[str, Any]) -> None:
    """The published schema accepts what the models accept, and refuses a misspelt key."""
    schema = Draft202012Validator(json.loads((FOLDER / "config.schema.json").read_text(encoding="utf-8")))
    config = yaml.safe_load(CONFIG_TEXT)
    assert schema.is_valid({**config, "retrain": {"target": target}})
    assert not schema.is_valid({**config, "retrain": {"target": {**target, "dagid": "x"}}})


@pytest.mark.parametrize(
    ("target", "position", "message"),
    [
        ({**AIRFLOW, "kind": "airfow"}, "retrain.target.kind", "did you mean 'airflow'?"),
        ({**AIRFLOW, "kind": 7}, "retrain.target.kind", "must be one of webhook, airflow, github, prefect, not 7"),
        ({"kind": "airflow", "url": "https://a.example", "user": "u"}, "retrain.target.dag_id", "is missing"),
        ({**AIRFLOW, "user": None}, "retrain.target", "either `user` or `token_env`"),
        ({**AIRFLOW, "token_env": "AIRFLOW_TOKEN"}, "retrain.target", "either `user` or `token_env`"),
        ({**AIRFLOW, "dag_id": "../variables"}, "retrain.target.dag_id", "must be"),
        ({**AIRFLOW, "url": "https://a.example/?x=1"}, "retrain.target.url", "must end before any ? or #"),
        ({**AIRFLOW, "dagid": "x"}, "retrain.target", "did you mean 'dag_id'?"),
        ({**GITHUB, "repository": "acme"}, "retrain.target.repository", "must be"),
        ({**GITHUB, "repository": "acme/.."}, "retrain.target.repository", "must be"),
        ({**GITHUB, "workflow": "../../x.yml"}, "retrain.target.workflow", "must be"),
        ({**GITHUB, "workflow": "retrain"}, "retrain.target.workflow", "must be"),
        ({**PREFECT, "deployment": "retrain"}, "retrain.target.deployment", "must be"),
        ({**PREFECT, "deployment": "a/b/c"}, "retrain.target.deployment", "must be"),
        ({**WEBHOOK, "dag_id": "x"}, "retrain.target.dag_id", "not permitted"),
        ({**WEBHOOK, "allow": ["10.0.0.1"]}, "retrain.target.allow", "is not HOST:PORT"),
    ],
)
def test_problems_have_line_and_path(tmp_path: Path, target: dict[str, Any], position: str, message: str) -> None:
    """As everywhere in a config."""
    with pytest.raises(ConfigError) as refused:
        written(tmp_path, target)
    assert position in str(refused.value)
    assert message in str(refused.value)


def test_each_kind_is_its_own_target() -> None:
    """It reads only the variables that it needs."""
    asked: list[str] = []

    def credential(name: str) -> str:
        asked.append(name)
        return f"of {name}"

    found = [
        choose_target(RetrainConfig.model_validate({"target": target}).target, None, credential)
        for target in (
            AIRFLOW,
            {**AIRFLOW, "user": None, "token_env": "T"},
            GITHUB,
            PREFECT,
            {**PREFECT, "api_key_env": "K"},
        )
    ]
    assert asked == ["TRUTHLOOP_AIRFLOW_PASSWORD", "T", "TRUTHLOOP_GITHUB_TOKEN", "K"]
    assert found == [
        Airflow("https://airflow.example", "retrain", "loop", "of TRUTHLOOP_AIRFLOW_PASSWORD"),
        Airflow("https://airflow.example", "retrain", "", "of T"),
        Github("https://api.github.com", "acme/models", "retrain.yml", "main", "of TRUTHLOOP_GITHUB_TOKEN"),
        Prefect("https://prefect.example/api", "retrain/prod", ""),
        Prefect("https://prefect.example/api", "retrain/prod", "of K"),
    ]
    with pytest.raises(ConfigError, match="a webhook is signed"):
        choose_target(WebhookConfig(url="https://pipeline.example/"), None, credential)


@pytest.mark.parametrize("target", [AIRFLOW, GITHUB, {**PREFECT, "api_key_env": "PREFECT_KEY"}])
def test_a_missing_credential_is_a_config_error(tmp_path: Path, target: dict[str, Any]) -> None:
    """It names the variable; an empty one counts as missing."""
    settings = written(tmp_path, target)
    for text in (None, "", "\n"):
        name = {"airflow": "TRUTHLOOP_AIRFLOW_PASSWORD", "github": "TRUTHLOOP_GITHUB_TOKEN", "prefect": "PREFECT_KEY"}[
            target["kind"]
        ]
        with pytest.raises(ConfigError) as refused:
            receiver_of(settings, {} if text is None else {name: text})
        assert refused.value.where == f"environment variable {name}"


def test_a_server_needs_a_webhook_secret_only_for_callbacks(tmp_path: Path) -> None:
    """Requests use its own credential; the secret signs callbacks."""
    environ = {"TRUTHLOOP_AIRFLOW_PASSWORD": "p"}
    quiet = receiver_of(written(tmp_path, AIRFLOW), environ)
    assert quiet is not None
    assert quiet.secret is None
    for options in ({"callback_url": "https://loop.example/v1/callback"}, {"completion": "callback"}):
        settings = written(tmp_path, {**AIRFLOW, **options})
        with pytest.raises(ConfigError, match="webhook secret"):
            receiver_of(settings, environ)
        heard = receiver_of(settings, {**environ, "TRUTHLOOP_WEBHOOK_SECRET": SECRET_TEXT})
        assert heard is not None
        assert heard.secret is not None


@pytest.mark.parametrize(
    "url", ["http://airflow.example", "https://10.0.0.1", "https://u:p@a.example", "https://169.254.169.254"]
)
def test_a_forbidden_server_url_is_a_config_error(tmp_path: Path, url: str) -> None:
    """By the rules of a webhook's URL."""
    with pytest.raises(ConfigError, match="cannot send to"):
        receiver_of(written(tmp_path, {**AIRFLOW, "url": url}), {"TRUTHLOOP_AIRFLOW_PASSWORD": "p"})


def test_a_credential_may_be_in_a_file(tmp_path: Path) -> None:
    """Without its line end; a value that a header cannot hold is refused, and not repeated."""
    file = tmp_path / "token"
    environ = {"T_FILE": str(file)}
    with pytest.raises(ConfigError, match="cannot be read"):
        read_credential("T", environ)
    file.write_text("ghp_abc\n")
    assert read_credential("T", environ) == "ghp_abc"
    for content in (b"ab\ncd", b"ab\x00", b"a" * 9_000, b"\xff\xfe"):
        file.write_bytes(content)
        with pytest.raises(ConfigError) as refused:
            read_credential("T", environ)
        assert refused.value.where == "environment variable T_FILE"
        assert "ab" not in refused.value.what


def test_variables_of_secrets_are_no_settings(tmp_path: Path) -> None:
    """Whatever their names: the defaults, and those from the config."""
    environ = {"TRUTHLOOP_AIRFLOW_PASSWORD": "p", "TRUTHLOOP_GITHUB_TOKEN_FILE": "f", "TRUTHLOOP_MY_KEY": "k"}
    assert written(tmp_path, {**PREFECT, "api_key_env": "TRUTHLOOP_MY_KEY"}, environ)
    with pytest.raises(ConfigError, match="TRUTHLOOP_MY_KEY"):
        written(tmp_path, PREFECT, environ)
