"""Where the lake keeps its files: the one seam between the lake and a disk or an object store.

`interface` says what the lake needs of a place; `folder` gives it on a local disk, `bucket` in an object store.
Everything that is no table of the Delta library, and every file that is listed, staged or deleted, goes through
`location.storage_at`. `client` is the one door to stores, `duckdb_files` that of DuckDB; `probe` refuses a store that
does not keep its promise.
"""
