"""A DAG that Truthloop can run: it checks the data set, then trains with a command of yours.

The conf of a run is the whole request. The run's id is the decision's, so Airflow takes each decision once.
"""

import os
import shlex
import subprocess

from airflow.sdk import dag, get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException
from dataset_check import checked


@dag(dag_id="retrain", schedule=None, catchup=False, max_active_runs=1)
def retrain() -> None:
    """Check, then train. A run that fails is told to the loop as a failed retrain."""

    @task
    def check() -> str:
        data = get_current_context()["dag_run"].conf["data"]
        if data["dry_run"]:
            raise AirflowSkipException("a dry run: nothing is to be trained")
        return str(checked(data["dataset"]))

    @task
    def train(folder: str) -> None:
        # the command gets the folder with train.parquet and holdout.parquet; its exit code says how it went
        subprocess.run([*shlex.split(os.environ["RETRAIN_COMMAND"]), folder], check=True)  # noqa: S603 - of the operator

    train(check())


retrain()
