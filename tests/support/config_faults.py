"""A valid config, and changes that make it invalid: text to replace, its replacement, the line, the message."""

__all__ = ["ERRORS", "VALID"]

VALID = """\
version: 1
loop: card-fraud
lake: {uri: ./lake}
predictions:
  outputs:
    fraud: {task: binary, threshold: 0.5}
  slices: [country]
labels:
  fraud:
    definition: chargeback-10.4
    horizon: 120d
    retain: 200d
ingest:
  - files: "scores-*"
    as: predictions
    map:
      key: tx.id
      id: [tx.id, model.version]
      time: {path: ts, unit: ms}
      version: model.version
      outputs.fraud: score
      slices.country: country
  - files: "labels-*"
    as: labels
    kind: fraud
    map: {key: tx, value: {path: reason, values: {10.4: 1}}, time: at}
cohorts: {by: [version, country], ages: [1d, 30d]}
coverage:
  - {label: fraud, age: 30d, min: 0.3}
metrics:
  fraud: [roc_auc]
"""

ERRORS = [
    ("horizon: 120d", "horizn: 120d", 11, "labels.fraud: unknown key 'horizn'; did you mean 'horizon'?"),
    ("predictions:\n", "predicitons:\n", 4, "unknown key 'predicitons'; did you mean 'predictions'?"),
    ("loop: card-fraud", "loop: card-fraud\nLake: x", 3, "unknown key 'Lake'; did you mean 'lake'?"),
    ("unit: ms", "units: ms", 19, "ingest[0].map.time: unknown key 'units'; did you mean 'unit'?"),
    ("    as: labels", "    as_: labels", 24, "ingest[1]: unknown key 'as_'; did you mean 'as'?"),
    (
        "retain: 200d",
        "retain: 200d\n    retain: 90d",
        13,
        "labels.fraud.retain: this key occurs twice, first in line 12",
    ),
    (
        "loop: card-fraud",
        "loop: card-fraud\n<<: {a: 1}",
        3,
        "<<: merge keys are not part of YAML 1.2; write the keys out",
    ),
    (
        "horizon: 120d",
        "horizon: 120x",
        11,
        "labels.fraud.horizon: '120x' is not a duration; write 90s, 15m, 36h",
    ),
    (
        "horizon: 120d",
        "horizon: 120",
        11,
        "labels.fraud.horizon: 120 has no unit; write 120s, 120m, 120h or 120d",
    ),
    ("horizon: 120d", "horizon: 0d", 11, "labels.fraud.horizon: must be greater than 0, not"),
    ("horizon: 120d", "horizon: 300d", 12, "labels.fraud.retain: 200d is shorter than horizon 300d"),
    ("    horizon: 120d\n", "", 9, "labels.fraud.horizon: is missing"),
    (
        "task: binary",
        "task: binry",
        6,
        "must be 'binary', 'multiclass' or 'regression', not 'binry'; did you mean 'binary'?",
    ),
    (
        "threshold: 0.5",
        "threshold: 1.5",
        6,
        "predictions.outputs.fraud.threshold: must be at most 1, not 1.5",
    ),
    (
        "threshold: 0.5",
        "threshold: .inf",
        6,
        "predictions.outputs.fraud.threshold: '.inf' is not a finite number",
    ),
    ("threshold: 0.5", "threshold: high", 6, "threshold: must be a number, not 'high'"),
    (
        "chargeback-10.4",
        "10.4",
        10,
        'labels.fraud.definition: must be text, not 10.4; quote it if it is text: "10.4"',
    ),
    (
        "chargeback-10.4",
        "!!python/name:os.system x",
        10,
        "the tag '!!python/name:os.system' is not supported",
    ),
    ("chargeback-10.4", "", 10, "labels.fraud.definition: must be text, and is empty"),
    (
        "loop: card-fraud",
        "loop: Card Fraud",
        2,
        "loop: 'Card Fraud' must be letters, digits, '.', '_' and '-'",
    ),
    ("version: 1", "version: true", 1, "version: must be a whole number, not true"),
    ("version: 1", "version: 2", 1, "version: must be 1, not 2"),
    (
        "./lake",
        "gs://bucket/x",
        3,
        "lake.uri: must be a local folder or s3://BUCKET/KEY, not gs://",
    ),
    (
        "lake: {uri: ./lake}",
        "timezone: Europe/Berln",
        3,
        "'Europe/Berln' is not an IANA time zone; did you mean 'Europe/Berlin'?",
    ),
    (
        "lake: {uri: ./lake}",
        "clock: arival",
        3,
        "clock: must be 'arrival' or 'event', not 'arival'; did you mean 'arrival'?",
    ),
    (
        "lake: {uri: ./lake}",
        "lake: ./lake",
        3,
        "lake: must be a mapping (lines of `key: value`), not './lake'",
    ),
    ("slices: [country]", "slices: [country, 5]", 7, "predictions.slices[1]: must be text, not 5; quote it"),
    ("slices: [country]", "slices: [country, Country]", 7, "'country' and 'Country' differ only in case"),
    (
        "slices: [country]",
        "slices: [country, version]",
        7,
        "'version' is always there and cannot be a slice too",
    ),
    ("slices: [country]", "slices: [country, a b]", 7, "'a b' must be a plain name: letters, digits and _"),
    (
        "    retain: 200d",
        "    retain: 200d\n    on_timeout: expier",
        13,
        "not 'expier'; did you mean 'expire'?",
    ),
    (
        "    retain: 200d",
        "    retain: 200d\n    on_timeout: {imply: 2}",
        13,
        "labels.fraud.on_timeout.imply: must be 0 or 1 for task: binary, not 2",
    ),
    (
        "    retain: 200d",
        "    retain: 200d\n    on_timeout: {imply: [1]}",
        13,
        "on_timeout.imply: must be true or false, a number or text, not a list",
    ),
    (
        "    retain: 200d",
        "    retain: 200d\n    on_timeout: {impl: 1}",
        13,
        "labels.fraud.on_timeout: unknown key 'impl'; did you mean 'imply'?",
    ),
    ("key: tx.id", "kye: tx.id", 17, "ingest[0].map.kye: unknown field; did you mean 'key'?"),
    ("key: tx.id", "key: 5", 17, "ingest[0].map.key: must be a path, a list of paths, or a mapping such as"),
    ("key: tx.id", "key: []", 17, "ingest[0].map.key: a list of paths cannot be empty"),
    ("      time: {path: ts, unit: ms}\n", "", 16, "ingest[0].map.time: is missing"),
    ("      key: tx.id\n", "", 16, "ingest[0].map.key: is missing"),
    (
        "outputs.fraud: score",
        "outputs.frod: score",
        21,
        "'frod' is not one of predictions.outputs; did you mean 'fraud'?",
    ),
    (
        "slices.country: country",
        "slices.contry: country",
        22,
        "'contry' is not one of predictions.slices; did you mean 'country'?",
    ),
    (
        "version: model.version",
        "version: {path: v, unit: ms}",
        20,
        "ingest[0].map.version.unit: is for times",
    ),
    ("version: model.version", "version: v.*", 20, "only `features` can take every field below a path"),
    (
        "    kind: fraud\n",
        "    kind: frad\n",
        25,
        "ingest[1].kind: 'frad' is not a label kind; did you mean 'fraud'?",
    ),
    ("    kind: fraud\n", "", 23, "ingest[1]: labels need `kind: NAME`"),
    ("value: {path: reason, values: {10.4: 1}}, ", "", 26, "ingest[1].map.value: is missing"),
    ("values: {10.4: 1}", "values: {10.4: 2}", 26, "must be 0 or 1 for task: binary, not 2"),
    (
        "[version, country]",
        "[version, contry]",
        27,
        "cohorts.by[1]: 'contry' is neither 'version' nor one of predictions.slices; did you mean 'country'?",
    ),
    ("ages: [1d, 30d]", "ages: [30d, 1d]", 27, "cohorts.ages: must grow, and 1d comes after 30d"),
    (
        "{label: fraud,",
        "{label: farud,",
        29,
        "coverage[0].label: 'farud' is not a label kind; did you mean 'fraud'?",
    ),
    ("min: 0.3", "min: 30", 29, "coverage[0].min: must be at most 1, not 30"),
    ("  fraud: [roc_auc]", "  fraud: [roc_acu]", 31, "did you mean 'roc_auc'?"),
    (
        "  fraud: [roc_auc]",
        "  fruad: [roc_auc]",
        31,
        "metrics.fruad: 'fruad' is not a label kind; did you mean 'fraud'?",
    ),
    ("  fraud: [roc_auc]", "  fraud: [roc_auc, roc_auc]", 31, "metrics.fraud: 'roc_auc' is listed twice"),
]
