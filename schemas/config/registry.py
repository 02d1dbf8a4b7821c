"""Config of the Schema Registry that knows the schemas of Avro values.

Secrets are not in the config: they come from environment variables, or from files that these name.
"""

from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from schemas.base.model import StrictModel
from schemas.base.problem import Problem, ProblemsError
from schemas.config.targets import BaseUrl, Variable

__all__ = ["REGISTRY_PASSWORD_VARIABLE", "SchemaRegistryConfig"]

REGISTRY_PASSWORD_VARIABLE = "TRUTHLOOP_SCHEMA_REGISTRY_PASSWORD"  # noqa: S105 - the name of the variable


class SchemaRegistryConfig(StrictModel):
    """A Schema Registry with Confluent's API: Confluent's own, Karapace, or Apicurio's compatible one."""

    url: BaseUrl = Field(
        description="URL of the API, such as https://HOST:8081, or http://HOST:8080/apis/ccompat/v7 of Apicurio."
    )
    user: str | None = Field(
        default=None, min_length=1, max_length=200, description="User, or API key, of HTTP basic authentication."
    )
    password_env: Variable = Field(
        default=REGISTRY_PASSWORD_VARIABLE,
        description="Variable with the user's password; with the suffix _FILE, variable that names its file.",
    )
    token_env: Variable | None = Field(
        default=None,
        description="Instead of a user: variable with a bearer token, sent as it is; _FILE as above.",
    )
    ca_file: str | None = Field(
        default=None,
        min_length=1,
        description="PEM file of the authorities that sign the registry's certificate.",
    )
    certificate_file: str | None = Field(
        default=None, min_length=1, description="PEM file of our certificate, with its chain, where one is asked for."
    )
    key_file: str | None = Field(
        default=None, min_length=1, description="PEM file of its key; left out if the certificate's file has it."
    )

    @property
    def secret_env(self) -> str | None:
        """Variable with the token or password; None if requests carry neither."""
        return self.token_env or (self.password_env if self.user is not None else None)

    @field_validator("url")
    @classmethod
    def _is_plain_url(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must be http://HOST or https://HOST, with a path if the API has one")
        if "@" in parts.netloc:
            raise ValueError("must not hold a user or a password: give `user`, and the password by the environment")
        return url

    @model_validator(mode="after")
    def _goes_together(self) -> "SchemaRegistryConfig":
        problems = []
        if self.user is not None and self.token_env is not None:
            problems.append(Problem(("token_env",), "goes instead of `user`, not with it"))
        if self.key_file is not None and self.certificate_file is None:
            problems.append(Problem(("key_file",), "goes with a `certificate_file`"))
        problems += [
            Problem((name,), "is for https://")
            for name in ("ca_file", "certificate_file")
            if getattr(self, name) is not None and not self.url.startswith("https://")
        ]
        if problems:
            raise ProblemsError(problems)
        return self
