"""Environment variables that override values of a config: `TRUTHLOOP_LABELS__FRAUD__HORIZON=90d`.

Two underscores lead one level down; names are case-insensitive; list items are numbered from 0. Values are set without
validation: that follows for the whole config.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from schemas.base.problem import Path, did_you_mean, dotted
from schemas.config.connection import HTTP_TOKEN_VARIABLE, KAFKA_SECRETS
from schemas.config.privacy import PII_KEY_VARIABLE
from schemas.config.registry import REGISTRY_PASSWORD_VARIABLE
from schemas.config.targets import AIRFLOW_PASSWORD_VARIABLE, GITHUB_TOKEN_VARIABLE, WEBHOOK_SECRET_VARIABLE
from truthloop.config.shape import Shape, config_shape
from truthloop.config.yaml_source import YamlError, read_scalar, read_yaml

__all__ = ["Overrides", "apply_overrides"]

PREFIX = "TRUTHLOOP_"

NOT_OVERRIDES = frozenset(
    {"TRUTHLOOP_MAVEN_URL", "TRUTHLOOP_CRASH_AT", "TRUTHLOOP_SUPERVISOR", "TRUTHLOOP_TEST_BOOTSTRAP_SERVERS"}
    | {"TRUTHLOOP_CHROMIUM", "TRUTHLOOP_LOG", "TRUTHLOOP_LOG_LEVEL", "TRUTHLOOP_TESTS"}
    | {
        f"{variable}{end}"
        for variable in (*KAFKA_SECRETS.values(), PII_KEY_VARIABLE, HTTP_TOKEN_VARIABLE)
        for end in ("", "_FILE")
    }
)
"""Variables with our prefix that set nothing in the config: secrets, the log, and those of development."""


@dataclass(frozen=True, slots=True)
class Overrides:
    """The values that the environment set.

    Attributes:
        variables: name of the variable, by the path of the value.
        problems: (name of a variable, what is wrong with it).
    """

    variables: dict[Path, str] = field(default_factory=dict)
    problems: list[tuple[str, str]] = field(default_factory=list)


def apply_overrides(value: dict[str, object], environ: Mapping[str, str]) -> Overrides:
    """Set values of a config in place.

    A variable's value is read as an unquoted YAML scalar; one that starts with a quote, `[` or `{` is read as YAML. An
    empty one is null. Shorter paths are applied first: a variable can set a section, and another one a field in it.
    """
    overrides = Overrides()
    ignored = NOT_OVERRIDES | _secret_variables(value)
    names = [name for name in environ if name.startswith(PREFIX) and name not in ignored]
    for name in sorted(names, key=lambda name: (name.count("__"), name)):
        parts = name.removeprefix(PREFIX).split("__")
        try:
            path = _find(value, parts)
            _set(value, path, _read(environ[name]))
        except YamlError as error:
            overrides.problems.append((name, error.message))
        except LookupError as error:
            overrides.problems.append((name, str(error.args[0])))
        else:
            overrides.variables[path] = name
    return overrides


def _secret_variables(value: Mapping[str, object]) -> frozenset[str]:
    """Return the variables with secrets that the config may name: the default ones, and those that it names."""
    names = [WEBHOOK_SECRET_VARIABLE, AIRFLOW_PASSWORD_VARIABLE, GITHUB_TOKEN_VARIABLE, REGISTRY_PASSWORD_VARIABLE]
    retrain = value.get("retrain")
    target = retrain.get("target") if isinstance(retrain, dict) else None
    for section in (target, value.get("schema_registry")):
        if isinstance(section, dict):
            names += [name for key, name in section.items() if str(key).endswith("_env") and isinstance(name, str)]
    return frozenset(f"{name}{end}" for name in names for end in ("", "_FILE"))


def _read(text: str) -> object:
    text = text.strip()
    if text[:1] not in ("'", '"', "[", "{"):
        return read_scalar(text)
    document = read_yaml(text)
    for problem, line in document.problems:
        raise YamlError(problem.message, line)
    return document.value


def _find(value: object, parts: list[str]) -> Path:
    """Return the path of the value that a variable's name means.

    Raises:
        LookupError: a part matches no key, or several; the message names the part and the nearest key.
    """
    path: Path = ()
    here, shape = value, config_shape()
    for part in parts:
        found: str | int
        if isinstance(here, list):
            if not (part.isdecimal() and int(part) < len(here)):
                raise LookupError(f"{dotted(path)} has {len(here)} items, counted from 0, and no {part.lower()}")
            found = int(part)
            here = here[found]
        else:
            found = _match(part, here, shape, path)
            here = here.get(found) if isinstance(here, dict) else None
        path = (*path, found)
        shape = shape.child(found)
    return path


def _match(part: str, here: object, shape: Shape, path: Path) -> str:
    known = {*shape.names, *(here if isinstance(here, dict) else ())}
    matching = {name for name in known if name.lower() == part.lower()}
    if part in matching or len(matching) == 1:
        return part if part in matching else matching.pop()
    where = dotted(path) or "the config"
    if matching:
        raise LookupError(f"{where} has {' and '.join(map(repr, sorted(matching)))}; write it exactly like one of them")
    raise LookupError(f"{where} has no key {part.lower()!r}{did_you_mean(part, known)}")


def _set(value: dict[str, object], path: Path, new: object) -> None:
    """Set the value at `path`, creating the sections on the way."""
    here: Any = value  # dicts by name, lists by number: _find returned a path that fits
    for part in path[:-1]:
        if not isinstance(here.get(part) if isinstance(here, dict) else here[part], (dict, list)):
            here[part] = {}
        here = here[part]
    here[path[-1]] = new
