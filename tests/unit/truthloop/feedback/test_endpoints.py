"""Endpoints: no request is sent and no page served in an unsafe way, and no error repeats a secret."""

from pathlib import Path
from typing import Any

import pytest
from lake_builder import loop_config

from retrain.signing import Secret
from schemas.config.connection import HTTP_TOKEN_VARIABLE
from schemas.config.retrain import WEBHOOK_SECRET_VARIABLE
from schemas.errors import ConfigError
from truthloop.config.settings import Settings
from truthloop.feedback.endpoints import access_of, receiver_of

SECRET_TEXT = "whsec_" + "c2VjcmV0" * 5
ENVIRON = {WEBHOOK_SECRET_VARIABLE: SECRET_TEXT}
TOKEN = "0123456789abcdef"  # noqa: S105 - of a test


def settings_of(*, target: dict[str, Any] | None = None, **http: Any) -> Settings:
    """Return a loop with a target, or without, and with settings of its page."""
    parts: dict[str, Any] = {"http": http} if http else {}
    if target is not None:
        parts["retrain"] = {"target": target}
    config = loop_config(**parts)
    return Settings(config, Path("truthloop.yaml"), Path("lake"), Path("state"), Path("datasets"))


def test_without_a_retrain_section_there_is_no_receiver() -> None:
    """No secret is needed then."""
    assert receiver_of(settings_of(), {}) is None


def test_a_receiver_has_the_secret_of_the_environment() -> None:
    """Also a receiver on this machine that the config allows, and with a variable of another name."""
    found = receiver_of(settings_of(target={"url": "https://pipeline.example/retrain"}), ENVIRON)
    assert found is not None
    assert (found.url, found.secret) == ("https://pipeline.example/retrain", Secret.parse(SECRET_TEXT))
    inner = {"url": "http://127.0.0.1:9000/hook", "allow": ["127.0.0.1:9000"], "secret_env": "OTHER"}
    allowed = receiver_of(settings_of(target=inner), {"OTHER": SECRET_TEXT})
    assert allowed is not None
    assert allowed.allow


@pytest.mark.parametrize(
    "url",
    [
        "http://pipeline.example/retrain",
        "http://127.0.0.1:9000/hook",
        "https://127.0.0.1/hook",
        "https://10.0.0.1/hook",
        "https://169.254.169.254/latest",
        "ftp://pipeline.example/",
        "https://user:hunter2@pipeline.example/",
        "pipeline.example",
    ],
)
def test_a_target_url_that_is_not_allowed_fails_the_start(url: str) -> None:
    """It does not fail at the first retrain, months later."""
    with pytest.raises(ConfigError, match="cannot send to") as refused:
        receiver_of(settings_of(target={"url": url}), ENVIRON)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("text", [None, "", "secret", "whsec_", "whsec_c2hvcnQ=", "whsec_" + "!" * 40])
def test_a_secret_that_is_missing_or_weak_is_refused_and_not_repeated(text: str | None) -> None:
    """The error names its variable."""
    environ = {} if text is None else {WEBHOOK_SECRET_VARIABLE: text}
    with pytest.raises(ConfigError) as refused:
        receiver_of(settings_of(target={"url": "https://pipeline.example/retrain"}), environ)
    assert refused.value.where == f"environment variable {WEBHOOK_SECRET_VARIABLE}"
    assert not text or text.removeprefix("whsec_") not in str(refused.value) or text in {"secret", "whsec_"}


@pytest.mark.parametrize("bind", ["127.0.0.1", "::1", "localhost"])
def test_on_this_machine_the_page_needs_no_token(bind: str) -> None:
    """Everybody on it may open the page; a token is used if it is set."""
    settings = settings_of(bind=bind, hosts=["loop.example"])
    assert access_of(settings, {}).token is None
    found = access_of(settings, {HTTP_TOKEN_VARIABLE: TOKEN})
    assert (found.token, found.hosts) == (TOKEN, ("loop.example",))


@pytest.mark.parametrize("bind", ["0.0.0.0", "::", "10.1.2.3", "loop.example", "127.0.0.1.example"])  # noqa: S104 - is rejected
def test_other_machines_are_not_served_without_a_token(bind: str) -> None:
    """The start fails, and names the missing variable."""
    with pytest.raises(ConfigError, match="to other machines without a token") as refused:
        access_of(settings_of(bind=bind), {})
    assert HTTP_TOKEN_VARIABLE in (refused.value.hint or "")
    assert access_of(settings_of(bind=bind), {HTTP_TOKEN_VARIABLE: TOKEN}).token == TOKEN


@pytest.mark.parametrize("token", ["", "short", TOKEN[1:]])
def test_a_token_that_can_be_guessed_is_refused(token: str) -> None:
    """Fifteen characters are too few, on this machine too; so is an empty token."""
    with pytest.raises(ConfigError, match="at least 16 characters") as refused:
        access_of(settings_of(), {HTTP_TOKEN_VARIABLE: token})
    assert refused.value.where == HTTP_TOKEN_VARIABLE


def test_a_token_may_be_in_a_file(tmp_path: Path) -> None:
    """The line end is not part of it; a missing or empty file fails the start."""
    file = tmp_path / "token"
    environ = {f"{HTTP_TOKEN_VARIABLE}_FILE": str(file)}
    with pytest.raises(ConfigError, match="cannot be read") as refused:
        access_of(settings_of(), environ)
    assert refused.value.where == f"{HTTP_TOKEN_VARIABLE}_FILE"
    file.write_text(f"{TOKEN}\n")
    assert access_of(settings_of(), environ).token == TOKEN
    file.write_text("\n")
    with pytest.raises(ConfigError):
        access_of(settings_of(), environ)
    file.write_bytes(b"\xff\xfe" * 20)
    with pytest.raises(ConfigError):
        access_of(settings_of(), environ)
