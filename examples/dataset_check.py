"""Checks the data set of a retrain request against its manifest, before anything learns from it.

Copy it to your pipeline: it needs Python and nothing else. As a program it reads the request from the variable REQUEST,
and prints the data set's folder.
"""

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

__all__ = ["checked"]


def checked(dataset: dict[str, Any]) -> Path:
    """Return the data set's folder, once its manifest and every file are the ones that were decided on.

    Args:
        dataset: `data.dataset` of the request.

    Raises:
        ValueError: something is not what it was.
        OSError: it cannot be read.
    """
    manifest_path, folder = _local(dataset["manifest_uri"]), _local(dataset["uri"])
    content = manifest_path.read_bytes()
    if hashlib.sha256(content).hexdigest() != dataset["manifest_sha256"]:
        raise ValueError(f"{manifest_path} is not the manifest that the request speaks of")
    for name, file in json.loads(content)["files"].items():
        with (folder / name).open("rb") as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() != file["sha256"]:
                raise ValueError(f"{folder / name} is not the file that the manifest speaks of")
    return folder


def _local(uri: str) -> Path:
    parts = urlsplit(uri)
    if parts.scheme != "file" or parts.netloc:
        raise ValueError(f"{uri} is not on this machine: mount or copy it first")
    return Path(unquote(parts.path))


if __name__ == "__main__":
    request = json.loads(os.environ["REQUEST"])
    if request["data"]["dry_run"]:
        sys.exit("a dry run: nothing is to be trained")
    print(checked(request["data"]["dataset"]))
