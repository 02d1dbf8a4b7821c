"""The join of predictions and labels as Quix Streams does it: `join_interval`, exactly once, RocksDB and changelog.

Run by `join.py` in an environment of its own that has Quix Streams, with bootstrap servers, the loop's name, the folder
of the state, the window and the commit interval in ms. Ends with its stdin.
"""

import sys
import threading
from pathlib import Path
from typing import Any

from quixstreams import Application


def main() -> None:
    """Join until stdin ends."""
    servers, loop, state, window_ms, commit_ms = sys.argv[1:]
    application = Application(
        broker_address=servers,
        consumer_group=f"{loop}-join",
        auto_offset_reset="earliest",
        commit_interval=int(commit_ms) / 1000,
        consumer_extra_config={"fetch.wait.max.ms": 50},
        consumer_poll_timeout=0.1,
        producer_extra_config={"compression.type": "lz4", "partitioner": "murmur2_random"},
        processing_guarantee="exactly-once",
        state_dir=Path(state),
        loglevel="WARNING",
    )
    predictions = application.dataframe(application.topic(f"{loop}.predictions", value_deserializer="json"))
    labels = application.dataframe(application.topic(f"{loop}.labels", value_deserializer="json"))
    window = {"backward_ms": int(window_ms), "forward_ms": int(window_ms), "grace_ms": int(window_ms)}
    joined = predictions.join_interval(labels, how="inner", on_merge=outcome, **window)
    joined.to_topic(application.topic(f"{loop}.outcomes", value_serializer="json"))
    threading.Thread(target=lambda: (sys.stdin.read(), application.stop()), daemon=True).start()
    application.run()


def outcome(prediction: dict[str, Any], label: dict[str, Any]) -> dict[str, Any]:
    """Return both values side by side, as the program for Kafka Streams does."""
    return {"prediction": prediction, "label": label}


if __name__ == "__main__":
    main()
