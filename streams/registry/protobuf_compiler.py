"""Compiles the text of Protobuf schemas, which is what a registry gives, to the descriptors that a decoder reads.

The compiler is Protobuf's own, of the package grpcio-tools (the extra `protobuf`); it runs once a schema, as a process.
"""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Final

from streams.registry.client import ReferencedSchema

__all__ = ["FILE", "ProtobufTextError", "compiled", "is_compiler_installed"]

FILE: Final = "registered-schema.proto"
"""Name of the file that a schema is compiled as."""

TIMEOUT_S: Final = 30.0
_DETAIL_CHARS_MAX: Final = 200


class ProtobufTextError(ValueError):
    """A text is no Protobuf schema, or imports what the registry does not give."""


def is_compiler_installed() -> bool:
    """Tell whether schemas can be compiled."""
    return find_spec("grpc_tools") is not None and bool(_google_files())


def compiled(text: str, referenced: Sequence[ReferencedSchema]) -> bytes:
    """Return a serialized `FileDescriptorSet` of a schema (its file is `FILE`) and of all that it imports.

    Args:
        text: in the language of .proto files.
        referenced: by the names that they are imported by. Google's own (google/protobuf/, google/type/) are known.

    Raises:
        ProtobufTextError: it cannot be compiled.
    """
    with tempfile.TemporaryDirectory(prefix="truthloop-protobuf-") as name:
        sources, target = Path(name) / "sources", Path(name) / "files"
        for one in (*referenced, ReferencedSchema(FILE, text)):
            _write(sources, one)
        options = [
            f"-I{sources}",
            *(f"-I{one}" for one in _google_files()),
            "--include_imports",
            "--include_source_info",
            f"--descriptor_set_out={target}",
        ]
        command = [sys.executable, "-m", "grpc_tools.protoc", *options, FILE]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)  # noqa: S603 - our own command
        except subprocess.TimeoutExpired:
            raise ProtobufTextError(f"no answer of its compiler within {TIMEOUT_S:.0f} s") from None
        if done.returncode:
            lines = done.stderr.replace(f"{sources}/", "").splitlines()
            line = next((line for line in lines if ".proto:" in line.partition(" ")[0]), "")
            raise ProtobufTextError(f"no Protobuf schema: {line.strip()[:_DETAIL_CHARS_MAX] or 'it does not compile'}")
        return target.read_bytes()


def _write(folder: Path, schema: ReferencedSchema) -> None:
    """Write a schema under its name, which comes from the registry and must not lead out of the folder."""
    name = PurePosixPath(schema.name)
    if name.is_absolute() or ".." in name.parts or not name.parts or "\0" in schema.name:
        raise ProtobufTextError(f"a reference has the name {schema.name!r:.100}, which is no path of an import")
    path = folder / name
    try:
        if path.exists():
            raise ProtobufTextError(f"two references have the name {schema.name!r:.100}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(schema.text, "utf-8")
    except (OSError, UnicodeEncodeError) as error:
        raise ProtobufTextError(f"a reference cannot be used ({type(error).__name__})") from None


def _google_files() -> list[Path]:
    """Return the folders that have google/type/; none without the package googleapis-common-protos."""
    found = find_spec("google.type")
    return [Path(one).parents[1] for one in (found.submodule_search_locations or () if found is not None else ())]
