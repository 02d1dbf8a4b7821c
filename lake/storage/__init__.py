"""Where the lake keeps its files: the one seam between the lake and a disk or a store.

`interface` says what the lake needs of a place, `folder` gives it on a local disk. Everything that is no table of the
Delta library, and every file that is listed, staged or deleted, goes through `location.storage_at`.
"""
