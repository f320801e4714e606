"""Model folders: finding them, reading their spec, and reading the files that it pins."""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass
from pathlib import Path

from ctcedge.errors import ModelError
from ctcedge.fs.files import UnsuitableFileError, read_limited
from ctcedge.fs.text import load_json
from ctcedge.model.spec import SPEC_NAME, ModelSpec, PinnedFile
from ctcedge.records import convert

OTHER_MODEL = "copy the model folder again, or give another --model"
"""The remedy for a model that cannot be used."""

_MAX_SPEC_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Model:
    """A model folder with a valid spec.

    Attributes:
        folder: path of the folder.
        spec: contents of model.json.
        sha256: hash of model.json, which pins all other files: the model's identity.
    """

    folder: Path
    spec: ModelSpec
    sha256: str

    def read(self, pinned: PinnedFile) -> bytes:
        """Return a pinned file's bytes.

        Raises:
            ModelError: it is missing or not the file that the spec pins.
        """
        path = self.folder / pinned.file
        try:
            data = _read(path, pinned.bytes)
        except OSError as error:
            raise ModelError(
                f"{path}: cannot be read ({error.strerror}); copy the model folder again"
            ) from None
        if data is None or hashlib.sha256(data).hexdigest() != pinned.sha256:
            raise ModelError(
                f"{path} is not the file that {SPEC_NAME} pins (its SHA-256 differs);"
                " copy the model folder again"
            )
        return data

    def check_files(self) -> None:
        """Check that every file is the one that the spec pins, also those that will not be used.

        Raises:
            ModelError: naming the first that is not, or that refers to data outside itself.
        """
        for variant in self.spec.graphs:
            self.read_graph(variant)
        spec = self.spec
        for pinned in (spec.golden.file, spec.card, spec.features, spec.training_table):
            if pinned is not None:
                self.read(pinned)

    def read_graph(self, variant: str) -> bytes:
        """Return a graph's bytes.

        Raises:
            ModelError: the model has no such graph, the file is changed, or it refers to data
                outside itself.
        """
        if variant not in self.spec.graphs:
            known = ", ".join(self.spec.graphs)
            raise ModelError(f"model {self.spec.name} has no {variant} graph; it has {known}")
        data = self.read(self.spec.graphs[variant])
        # ONNX refers to external data by the key "location", which our graphs do not contain.
        if b"location" in data:
            path = self.folder / self.spec.graphs[variant].file
            raise ModelError(
                f"{path} keeps weights in another file, which is not accepted; save it as one file"
            )
        return data


def load_model(name_or_folder: str | Path | None = None) -> Model:
    """Find a model folder and read its spec; graphs are read and checked when a session opens.

    Args:
        name_or_folder: a folder, the name of a model that comes with ctcedge, or None for the
            default model.

    Raises:
        ModelError: not found, or its spec is not valid.
    """
    folder = _find(name_or_folder)
    path = folder / SPEC_NAME
    try:
        data = _read(path, _MAX_SPEC_BYTES)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}); {OTHER_MODEL}") from None
    if data is None:
        raise ModelError(
            f"{path}: not a regular file of at most {_MAX_SPEC_BYTES:,} bytes; {OTHER_MODEL}"
        )
    try:
        spec = convert(load_json(data), ModelSpec)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: {error}; {OTHER_MODEL}") from None
    return Model(folder, spec, hashlib.sha256(data).hexdigest())


def models_folder() -> Path:
    """Return the folder of the shipped models, in the package or in a source checkout."""
    package = Path(__file__).parents[1]
    installed = package / "models"
    return installed if installed.is_dir() else package.parent / "models"


def shipped_models() -> list[str]:
    """Return the names of the shipped models; the first is the default."""
    return sorted(path.parent.name for path in models_folder().glob(f"*/{SPEC_NAME}"))


def available_models(given: Model | None = None) -> dict[str, Model]:
    """Return the shipped models, and a further one, by hash; damaged ones are left out.

    Args:
        given: the further model.
    """
    models = [] if given is None else [given]
    for name in shipped_models():
        with contextlib.suppress(ModelError):
            models.append(load_model(name))
    return {model.sha256: model for model in models}


def _read(path: Path, max_bytes: int) -> bytes | None:
    """Return a file's content; None where it is not a regular file, or larger.

    Links are followed, as package stores use them: the pinned hash covers what they lead to.
    """
    try:
        return read_limited(path, max_bytes, follow=True)
    except UnsuitableFileError:
        return None


def _find(name_or_folder: str | Path | None) -> Path:
    names = shipped_models()
    if name_or_folder is None:
        if not names:
            raise ModelError(
                f"no model in {models_folder()}; reinstall ctcedge or give --model FOLDER"
            )
        return models_folder() / names[0]
    if Path(name_or_folder).is_dir():
        return Path(name_or_folder).resolve()
    if str(name_or_folder) in names:
        return models_folder() / str(name_or_folder)
    known = ", ".join(names) or "none"
    raise ModelError(f"no model folder or shipped model '{name_or_folder}' (shipped: {known})")
