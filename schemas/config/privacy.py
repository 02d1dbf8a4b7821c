"""Features that are personal data, and mappings that would copy one past its redaction.

`streams.mapping.redaction` hashes and drops them.
"""

from collections.abc import Iterator, Sequence

from schemas.base.problem import Problem
from schemas.config.mapping import SourceMap
from schemas.config.prediction import PredictionConfig

__all__ = ["PII_KEY_VARIABLE", "has_personal_features", "privacy_problems", "redacted_features"]

PII_KEY_VARIABLE = "TRUTHLOOP_PII_KEY"
"""Environment variable with the key of `pii: hash`; with the suffix `_FILE`, with the name of a file that holds it."""


def redacted_features(predictions: PredictionConfig) -> dict[str, str]:
    """Return the redaction (hash, drop) of each feature that has one."""
    found = {name: feature.pii for name, feature in predictions.features.items()}
    return {name: pii for name, pii in found.items() if pii in ("hash", "drop")}


def has_personal_features(predictions: PredictionConfig) -> bool:
    """Tell whether records hold personal data, redacted or not; then their original bytes are not kept in rejects."""
    return any(feature.pii is not None for feature in predictions.features.values())


def privacy_problems(sources: Sequence[SourceMap], predictions: PredictionConfig) -> Iterator[Problem]:
    """Find mapped fields that would copy a redacted feature: the same path, or one above or below it."""
    redacted = redacted_features(predictions)
    for at, source in enumerate(sources):
        if source.is_canonical or source.as_ != "predictions":
            continue
        hidden = {path: name for name in redacted for path in _paths(source, f"features.{name}")}
        for target, field in source.map.items():
            group, _, name = target.partition(".")
            if group not in ("slices", "features") or not name or (group == "features" and name in redacted):
                continue
            for path in field.paths:
                for other, feature in hidden.items():
                    if _overlap(path, other):
                        message = f"{path!r} holds the feature {feature!r}, which is hidden (pii: {redacted[feature]})"
                        yield Problem(("ingest", at, "map", target), message)


def _paths(source: SourceMap, target: str) -> list[str]:
    """Return the paths that a feature is read from, also by `features: x.*`."""
    if target in source.map:
        return source.map[target].paths
    group = source.map.get("features")
    if group is None or not isinstance(group.path, str):
        return []
    return [f"{group.path.removesuffix('*')}{target.removeprefix('features.')}"]


def _overlap(one: str, other: str) -> bool:
    return one == other or one.startswith(f"{other}.") or other.startswith(f"{one}.")
