"""The field's `cls_labels.npy`: a pickled dictionary of picture name -> 0/1 vector in a 0-d object array, read without running
code from it.
"""

import io
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np

from utils.errors import UserError

# What the unpickler raises for files that are damaged, or hold something else.
NOT_A_TABLE = (OSError, ValueError, AttributeError, TypeError, EOFError, LookupError, ImportError, MemoryError,
               OverflowError, struct.error, pickle.UnpicklingError)  # fmt: skip


def read_label_array(path: Path, class_names: tuple[str, ...]) -> dict[str, list[int]]:
    """The classes of each picture, by name.

    Raises:
        UserError: the file is damaged, holds something else, or has another number of classes.
    """
    try:
        content = io.BytesIO(path.read_bytes())
        version = np.lib.format.read_magic(content)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        _, _, dtype = read_header(content)
        if not dtype.hasobject:
            raise ValueError(f"the array is of type {dtype}")
        table = _ArrayUnpickler(content, encoding="latin1").load()  # the encoding is for files that Python 2 wrote
        table = table.item() if isinstance(table, np.ndarray) else table
        vectors = {_key_to_name(key): np.asarray(vector, np.float64) for key, vector in table.items()}
    except NOT_A_TABLE as error:
        raise UserError(f"{path}: expected a dictionary of picture name -> 0/1 vector: {error}") from error
    for name, vector in vectors.items():
        if vector.shape != (len(class_names),):
            raise UserError(
                f"{path}: picture '{name}' has a vector of shape {vector.shape}, expected ({len(class_names)},), "
                "one value a class; set data.classes to the classes of this file"
            )
    return {name: np.flatnonzero(vector > 0).tolist() for name, vector in vectors.items()}


class _ArrayUnpickler(pickle.Unpickler):
    """Reads pickled dictionaries of arrays and nothing else: any other class in the file is refused, not imported."""

    ALLOWED = frozenset({"_reconstruct", "ndarray", "dtype", "scalar", "_frombuffer"})

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] == "numpy" and name in self.ALLOWED:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name} is not an array")


def _key_to_name(key: Any) -> str:
    """IRN's tables have 2007000032 for 2007_000032."""
    if isinstance(key, int | np.integer):
        digits = str(int(key))
        return f"{digits[:4]}_{digits[4:]}"
    return str(key)
