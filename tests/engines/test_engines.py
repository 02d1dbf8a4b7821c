"""Engines that read Delta agree on the closed days of a lake: Spark, Polars, delta-rs, and DuckDB with `views.sql`."""

import subprocess
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable
from foreign_server import environment
from polars.testing import assert_frame_equal
from replay_case import CLOSE_MS, CONFIG, NOW_MS, run, write_files

from lake import connect
from lake.closed_days import close_days
from truthloop.broker.jars import Jar, cache_folder, fetch_jars

pytestmark = pytest.mark.timeout(600)

DELTA_JARS = [
    Jar(
        "538511702aae0ef6973a6a70af3d4543c9009f8edbed786a00737e2d3cd7f04e",
        7_727_374,
        "io/delta/delta-spark_2.13/4.0.0/delta-spark_2.13-4.0.0.jar",
    ),
    Jar(
        "9bdb9fb450f1e119eba53feb427f331b0d09072d26485b8273883ad72c9a2e1d",
        69_732,
        "io/delta/delta-storage/4.0.0/delta-storage-4.0.0.jar",
    ),
]
"""What Spark 4.0 needs to read Delta, of Maven Central."""

SPARK = """
import sys
from pyspark.sql import SparkSession

table, until, out, jars = sys.argv[1:]
session = (
    SparkSession.builder.master("local[1]").config("spark.jars", jars).config("spark.ui.enabled", "false")
    .config("spark.driver.bindAddress", "127.0.0.1").config("spark.driver.host", "127.0.0.1")
    .config("spark.sql.session.timeZone", "UTC")
    .config("spark.sql.extensions", "io.delta.sql.DeltaSparkSessionExtension")
    .config("spark.sql.catalog.spark_catalog", "org.apache.spark.sql.delta.catalog.DeltaCatalog")
    .getOrCreate()
)
rows = session.read.format("delta").load(table)
rows.where(f"day <= DATE '{until}'").coalesce(1).write.parquet(out)
"""


def by_spark(lake: Path, until: str, out: Path) -> pl.DataFrame:
    """Return the rows as Spark reads them."""
    libs = fetch_jars(cache_folder().with_name("spark-jars"), jars=DELTA_JARS)
    jars = ",".join(str(libs / jar.name) for jar in DELTA_JARS)
    python = environment("pyspark", "test-engines") / "python"
    command = [str(python), "-c", SPARK, str(lake / "scored"), until, str(out), jars]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3_000:]
    return pl.read_parquet(out / "*.parquet")


def test_engines_agree_on_closed_days(tmp_path: Path) -> None:
    """To the last value and time; of the days that the view `closed_until` names."""
    lake = tmp_path / "lake"
    files = write_files(tmp_path, count=400)
    run(lake, files.prediction_files, files.label_files, close_at_ms=CLOSE_MS, config=CONFIG)
    assert [*close_days(lake, datetime.fromtimestamp(NOW_MS / 1000, UTC))]
    with connect(lake) as connection:
        until = str(connection.sql("FROM closed_until").fetchall()[0][0])
        columns = connection.sql("FROM scored").columns
        wanted = connection.sql(f"FROM scored WHERE day <= DATE '{until}'").pl()
    by_delta_rs = pl.DataFrame(DeltaTable(str(lake / "scored")).to_pyarrow_dataset().to_table())
    engines = {
        "Polars": pl.scan_delta(lake / "scored").collect(),
        "delta-rs": by_delta_rs,
        "Spark": by_spark(lake, until, tmp_path / "spark"),
    }
    assert wanted.height > 500
    for engine, rows in engines.items():
        found = rows.filter(pl.col("day") <= pl.lit(until).str.to_date()).select(columns)
        assert found.height == wanted.height, engine
        same = found.select(pl.col(name).cast(wanted.schema[name]) for name in columns)
        assert_frame_equal(same.sort("key", "id", "kind"), wanted.sort("key", "id", "kind"), check_exact=True)
