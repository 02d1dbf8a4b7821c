"""A flow that Truthloop can run: it checks the data set, then trains with a command of yours.

    PREFECT_API_URL=https://prefect.example/api RETRAIN_COMMAND="python train.py" python flow.py

The parameter `request` is the whole request. The run's idempotency key is the decision's id.
"""

import os
import shlex
import subprocess
from typing import Any

from dataset_check import checked
from prefect import flow


@flow(name="retrain")
def retrain(request: dict[str, Any]) -> None:
    """Check, then train. A run that fails is told to the loop as a failed retrain."""
    if request["data"]["dry_run"]:
        return
    folder = checked(request["data"]["dataset"])
    # the command gets the folder with train.parquet and holdout.parquet; its exit code says how it went
    subprocess.run([*shlex.split(os.environ["RETRAIN_COMMAND"]), str(folder)], check=True)  # noqa: S603 - of the operator


if __name__ == "__main__":
    retrain.serve(name="prod")
