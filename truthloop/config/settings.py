"""Loads a loop's config: `truthloop.yaml`, overridden by the environment, validated by `schemas.config.loop`.

All errors are reported at once, each with its line. This is the only module that reads the file.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import TypeVar

from pydantic import ValidationError

from schemas.base.location import BucketUri, Location
from schemas.base.problem import Path, Problem, did_you_mean, dotted
from schemas.config.loop import LoopConfig
from schemas.config.retrain import DatasetConfig
from schemas.errors import ConfigError
from truthloop.config.environment import apply_overrides
from truthloop.config.faults import describe_errors
from truthloop.config.shape import UnknownKey, config_shape, drop_unknown_keys
from truthloop.config.yaml_source import YamlDocument, YamlError, read_yaml

__all__ = [
    "ConfigProblem",
    "InvalidConfigError",
    "Settings",
    "ValueLocations",
    "load_located_settings",
    "load_settings",
]

FILE_BYTES_MAX = 262_144
"""A config is a few kilobytes; a larger file is most probably a data file given by mistake."""

REPORTED_MAX = 50
"""Errors listed in one report; the rest are only counted."""

_Place = TypeVar("_Place")


@dataclass(frozen=True, slots=True)
class ConfigProblem:
    """An error or a warning, and where it can be fixed.

    Attributes:
        file: the config's path as it was given, or `environment variable NAME`.
        line: 1-based; None if there is no line (a missing file, a variable).
        message: a sentence for the user.
    """

    file: str
    line: int | None
    message: str

    @property
    def where(self) -> str:
        """`file:line`, or the file alone."""
        return self.file if self.line is None else f"{self.file}:{self.line}"


class InvalidConfigError(ConfigError):
    """The config cannot be used; has every error that was found.

    Args:
        problems: at least one, in the order of the report.
        hint: what to do next.
    """

    def __init__(self, problems: Iterable[ConfigProblem], *, hint: str = "") -> None:
        self.problems = tuple(problems)
        first, *others = self.problems
        lines = [first.message, *(f"{other.where}: {other.message}" for other in others[: REPORTED_MAX - 1])]
        if len(others) >= REPORTED_MAX:
            lines.append(f"... and {len(others) - REPORTED_MAX + 1} more")
        super().__init__("\n".join(lines), where=first.where, hint=hint)


@dataclass(frozen=True)
class Settings:
    """A loop's validated config and its places. Folders are absolute; no place need exist.

    Attributes:
        path: the config file, as it was given.
        lake: folder or bucket of the lake.
        state: folder of this loop's local state.
        datasets: folder or bucket of the data sets that are sent with retrain requests.
    """

    config: LoopConfig
    path: FilePath
    lake: Location
    state: FilePath
    datasets: Location


@dataclass(frozen=True)
class ValueLocations:
    """Where each value of a config was set: a line of the file, or an environment variable.

    Attributes:
        file: the config's path as it was given.
        lines: 1-based, by the value's path.
        variables: names of environment variables, by the path of the value that they set.
    """

    file: str
    lines: Mapping[Path, int]
    variables: Mapping[Path, str]

    def problem(self, path: Path, message: str) -> ConfigProblem:
        """Return `message` with the location of the value at `path`, or of its nearest parent that was set."""
        for length in range(len(path), -1, -1):
            if (variable := self.variables.get(path[:length])) is not None:
                return ConfigProblem(f"environment variable {variable}", None, message)
            if (line := self.lines.get(path[:length])) is not None:
                return ConfigProblem(self.file, line, message)
        return ConfigProblem(self.file, 1, message)


def load_settings(path: FilePath, environ: Mapping[str, str] | None = None) -> Settings:
    """Read a loop's config, apply the environment's overrides, validate.

    Args:
        path: the config file.
        environ: with the `TRUTHLOOP_...` overrides; default: the process's environment.

    Raises:
        InvalidConfigError: a ConfigError with all errors, each with its line and the nearest name.
    """
    return load_located_settings(path, environ)[0]


def load_located_settings(path: FilePath, environ: Mapping[str, str] | None = None) -> tuple[Settings, ValueLocations]:
    """Return what `load_settings` does, and where each value was set."""
    document, value = _read(path)
    overrides = apply_overrides(value, os.environ if environ is None else environ)
    unknown: list[UnknownKey] = []
    known = drop_unknown_keys(value, config_shape(), unknown)
    locations = ValueLocations(str(path), _lines_with_right_names(document.lines, unknown), overrides.variables)
    found = [ConfigProblem(f"environment variable {name}", None, message) for name, message in overrides.problems]
    found += [ConfigProblem(str(path), line, str(problem)) for problem, line in document.problems]
    found += [locations.problem((*one.path, one.key), str(_unknown_key_problem(one))) for one in unknown]
    reported = {problem.path for problem, _ in document.problems}
    config = None
    try:
        config = LoopConfig.model_validate(known)
    except ValidationError as error:
        problems = [problem for problem in describe_errors(error, known) if problem.path not in reported]
        found += [locations.problem(problem.path, str(problem)) for problem in problems]
    if found or config is None:
        raise InvalidConfigError(sorted(found, key=lambda problem: (problem.line or 0, problem.file)))

    def found_at(find: Callable[[str, FilePath], _Place], uri: str, *key: str) -> _Place:
        try:
            return find(uri, path)
        except ValueError as error:
            raise InvalidConfigError([locations.problem(key, f"{dotted(key)}: {error}")]) from None

    dataset = DatasetConfig() if config.retrain is None else config.retrain.dataset
    lake = found_at(_location, config.lake.uri, "lake", "uri")
    state = found_at(_folder, config.state.dir, "state", "dir")
    datasets = found_at(_location, dataset.uri, "retrain", "dataset", "uri")
    return Settings(config, path, lake, state / config.loop, datasets), locations


def _read(path: FilePath) -> tuple[YamlDocument, dict[str, object]]:
    """Return the file's YAML document and its top-level mapping."""
    text = _decode(path, _read_bytes(path))
    try:
        document = read_yaml(text)
    except YamlError as error:
        raise InvalidConfigError([ConfigProblem(str(path), error.line, error.message)]) from None
    value = document.value
    if isinstance(value, dict):
        return document, value
    if value is None:
        problem = ConfigProblem(str(path), 1, "the file is empty")
        raise InvalidConfigError([problem], hint="`truthloop new` writes a config to start from")
    kind = "a list" if isinstance(value, list) else "a single value"
    message = f"the file contains {kind}; a config is a mapping of sections: `version: 1`, `loop: NAME`, ..."
    raise InvalidConfigError([ConfigProblem(str(path), document.lines.get((), 1), message)])


def _read_bytes(path: FilePath) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except FileNotFoundError:
        hint = "`truthloop new` writes a config to start from; --config names another file"
        raise InvalidConfigError([ConfigProblem(str(path), None, "no such file")], hint=hint) from None
    except IsADirectoryError:
        problem = ConfigProblem(str(path), None, "this is a folder; name the config file in it")
        raise InvalidConfigError([problem]) from None
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        message = f"the file cannot be read: {reason}"
        raise InvalidConfigError([ConfigProblem(str(path), None, message)]) from None
    if len(content) > FILE_BYTES_MAX:
        message = f"larger than {FILE_BYTES_MAX // 1024} KiB, which no config is; is this a data file?"
        raise InvalidConfigError([ConfigProblem(str(path), None, message)])
    return content


def _decode(path: FilePath, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        problem = ConfigProblem(str(path), line, f"byte 0x{content[error.start]:02X} is not valid UTF-8")
        raise InvalidConfigError([problem], hint="save the file as UTF-8") from None


def _unknown_key_problem(one: UnknownKey) -> Problem:
    hint = f"; did you mean {one.meant!r}?" if one.meant else did_you_mean("", one.known)
    return Problem(one.path, f"unknown key {one.key[:80]!r}{hint}")


def _lines_with_right_names(lines: dict[Path, int], unknown: list[UnknownKey]) -> dict[Path, int]:
    """Return `lines` with the paths below misspelt keys added under the right names."""
    right = dict(lines)
    for one in unknown:
        if one.meant is not None:
            wrong = (*one.path, one.key)
            for path in [path for path in right if path[: len(wrong)] == wrong]:
                right.setdefault((*one.path, one.meant, *path[len(wrong) :]), right[path])
    return right


def _location(uri: str, path: FilePath) -> Location:
    """Return a folder or a bucket of the config.

    Raises:
        ValueError: it cannot be used; the message says why.
    """
    return BucketUri.parse(uri) if uri.startswith("s3://") else _folder(uri, path)


def _folder(uri: str, path: FilePath) -> FilePath:
    """Return a folder of the config as an absolute path.

    Relative to the config file's folder; a symlink of the file itself is not followed: a mounted config is a link into
    a folder that is replaced with each version.

    Raises:
        ValueError: the folder cannot be used; the message says why.
    """
    try:
        home = uri == "~" or uri.startswith("~/")
        folder = (path.parent / (FilePath(uri).expanduser() if home else uri)).resolve()
        if folder.exists() and not folder.is_dir():
            raise ValueError(f"{folder} is a file, not a folder")
    except (OSError, RuntimeError) as error:
        raise ValueError(f"{uri!r} cannot be used: {getattr(error, 'strerror', None) or error}") from None
    return folder
