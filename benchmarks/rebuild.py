"""How long a lost state takes: `python benchmarks/rebuild.py`, or with `--records 2000000`.

The records of `replay.py` go into a lake. All of them lie within `retain`, so nothing has left the state: 0.55 live
predictions for each record. Then each of the eight partitions is restored from the lake, into a durable store of its
own, as a worker does that has lost its disk. Each result is the state that the ledger describes, by its fingerprint.

Prints one line of JSON: live keys, seconds for all partitions, the greatest memory.
"""

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

from replay import CONFIG, generate

from joins import policy_from
from lake import Lake
from streams.join_worker.task import PartitionTask, StoredCheckpoint
from streams.ledger.table import newest_rows
from streams.messages.records import Projection
from streams.state_store.restore import restore_partition
from streams.state_store.store import RocksStore
from truthloop.clock import now_ms
from truthloop.config.settings import Settings
from truthloop.run.replay_files import replay_files


def main() -> None:
    """Fill a lake, make every partition again, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=2_000_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="truthloop-bench-") as name:
        folder = Path(name)
        generate(folder, arguments.records, arguments.seed)
        files = (folder / "predictions.parquet", folder / "labels.parquet")
        settings = Settings(CONFIG, folder / "truthloop.yaml", folder / "lake", folder / "state", folder / "datasets")
        replay_files(settings, [files[0]], [files[1]], now_ms=now_ms(), close_at_ms=None)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        policy, projection = policy_from(CONFIG), Projection.of(CONFIG)
        keys, started = 0, time.perf_counter()
        for number, row in newest_rows(Lake.open(folder / "lake")).items():
            store = RocksStore(folder / "state" / str(number), list(policy.kinds))
            partition = restore_partition(folder / "lake", policy, projection, row, store)
            stored = StoredCheckpoint(row.sequence + 1, 0, partition.checkpoint, row.policy)
            live = PartitionTask(number, partition, store, stored)
            live.flush()
            keys += len(store)
            live.close()
        seconds = time.perf_counter() - started
    result = {
        "live_keys": keys,
        "seconds": round(seconds, 1),
        "peak_rss_gb_of_the_replay": round(before / 1e6, 2),
        "peak_rss_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
