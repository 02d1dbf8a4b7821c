"""The loop's config as the process uses it: `truthloop.yaml`, overridden by the environment, validated.

Everything that is wrong is reported at once, each fault with its line. This module must not decide what a
valid config is (`schemas.config.loop` does), and nothing else in the product reads the file.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path as FilePath

from pydantic import ValidationError

from schemas.base.problem import Path, Problem, did_you_mean, dotted
from schemas.config.loop import LoopConfig
from schemas.config.retrain import DatasetConfig
from schemas.errors import ConfigError
from truthloop.config.environment import apply_overrides
from truthloop.config.faults import explain_fault
from truthloop.config.shape import Misnomer, config_shape, keep_known
from truthloop.config.yaml_source import YamlDocument, YamlError, read_yaml

__all__ = [
    "ConfigProblem",
    "InvalidConfigError",
    "Places",
    "Settings",
    "load_placed_settings",
    "load_settings",
]

FILE_BYTES_MAX = 262_144
"""A config is a few kilobytes; what is larger is most probably a data file given by mistake."""

REPORTED_MAX = 50
"""More faults than this in one report help nobody."""


@dataclass(frozen=True, slots=True)
class ConfigProblem:
    """One fault, or one remark, and where it can be mended.

    Attributes:
        file: the config's path as it was given, or `environment variable NAME`.
        line: 1-based; None where a line says nothing (a missing file, a variable).
        message: what is wrong, in words for a person.
    """

    file: str
    line: int | None
    message: str

    @property
    def where(self) -> str:
        """`file:line`, or the file alone."""
        return self.file if self.line is None else f"{self.file}:{self.line}"


class InvalidConfigError(ConfigError):
    """The config cannot be used; carries every fault that was found.

    Args:
        problems: at least one, in the order in which they are reported.
        hint: the next step.
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
    """A loop's config and where it came from.

    Attributes:
        config: validated.
        path: the config file, as it was given.
        lake: the lake's folder, absolute; it need not exist.
        state: folder of this loop's local state, absolute; the same.
        datasets: folder of the data sets that go with retrains, absolute; the same.
    """

    config: LoopConfig
    path: FilePath
    lake: FilePath
    state: FilePath
    datasets: FilePath


@dataclass(frozen=True)
class Places:
    """Where each value of a config was written.

    Attributes:
        file: the config's path as it was given.
        lines: by the value's path.
        variables: names of environment variables, by the path of the value that they set.
    """

    file: str
    lines: Mapping[Path, int]
    variables: Mapping[Path, str]

    def problem(self, path: Path, message: str) -> ConfigProblem:
        """Return `message` with the place where the value at `path` stands, or should stand."""
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
        environ: where `TRUTHLOOP_...` overrides are; the process's environment when left out.

    Raises:
        InvalidConfigError: a ConfigError with all faults, each with its line and the nearest right name.
    """
    return load_placed_settings(path, environ)[0]


def load_placed_settings(path: FilePath, environ: Mapping[str, str] | None = None) -> tuple[Settings, Places]:
    """Do what `load_settings` does, and say where each value was written."""
    document, value = _read(path)
    overrides = apply_overrides(value, os.environ if environ is None else environ)
    misnomers: list[Misnomer] = []
    known = keep_known(value, config_shape(), misnomers)
    places = Places(str(path), _lines_with_right_names(document.lines, misnomers), overrides.variables)
    found = [ConfigProblem(f"environment variable {name}", None, said) for name, said in overrides.problems]
    found += [ConfigProblem(str(path), line, str(problem)) for problem, line in document.problems]
    found += [places.problem((*m.path, m.key), str(_unknown(m))) for m in misnomers]
    told = {problem.path for problem, _ in document.problems}
    config = None
    try:
        config = LoopConfig.model_validate(known)
    except ValidationError as error:
        problems = [problem for problem in explain_fault(error, known) if problem.path not in told]
        found += [places.problem(problem.path, str(problem)) for problem in problems]
    if found or config is None:
        raise InvalidConfigError(sorted(found, key=lambda problem: (problem.line or 0, problem.file)))
    folders = []
    dataset = DatasetConfig() if config.retrain is None else config.retrain.dataset
    named: list[tuple[Path, str]] = [
        (("lake", "uri"), config.lake.uri),
        (("state", "dir"), config.state.dir),
        (("retrain", "dataset", "uri"), dataset.uri),
    ]
    for place, name in named:
        try:
            folders.append(_folder(name, path))
        except ValueError as error:
            raise InvalidConfigError([places.problem(place, f"{dotted(place)}: {error}")]) from None
    return Settings(config, path, folders[0], folders[1] / config.loop, folders[2]), places


def _read(path: FilePath) -> tuple[YamlDocument, dict[str, object]]:
    """Return the file's document, and its top as a mapping."""
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
    message = f"the file holds {kind}; a config is a mapping of sections: `version: 1`, `loop: NAME`, ..."
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


def _unknown(misnomer: Misnomer) -> Problem:
    hint = f"; did you mean {misnomer.meant!r}?" if misnomer.meant else did_you_mean("", misnomer.known)
    return Problem(misnomer.path, f"unknown key {misnomer.key[:80]!r}{hint}")


def _lines_with_right_names(lines: dict[Path, int], misnomers: list[Misnomer]) -> dict[Path, int]:
    """Return `lines` with what stands below misspelt keys under the right names as well."""
    right = dict(lines)
    for misnomer in misnomers:
        if misnomer.meant is not None:
            wrong = (*misnomer.path, misnomer.key)
            for path in [path for path in right if path[: len(wrong)] == wrong]:
                right.setdefault((*misnomer.path, misnomer.meant, *path[len(wrong) :]), right[path])
    return right


def _folder(uri: str, path: FilePath) -> FilePath:
    """Return a folder that the config names, absolute.

    A link to the config file itself is not followed: mounted configs are links into folders that change.

    Raises:
        ValueError: the folder cannot be used; the text says why.
    """
    try:
        home = uri == "~" or uri.startswith("~/")
        folder = (path.parent / (FilePath(uri).expanduser() if home else uri)).resolve()
        if folder.exists() and not folder.is_dir():
            raise ValueError(f"{folder} is a file, not a folder")
    except (OSError, RuntimeError) as error:
        raise ValueError(f"{uri!r} cannot be used: {getattr(error, 'strerror', None) or error}") from None
    return folder
