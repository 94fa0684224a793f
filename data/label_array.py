"""The field's `cls_labels.npy`: a pickled dictionary of image name -> 0/1 vector in a 0-d object array.

A pickle is a program, so it is run with nothing in reach: what it calls numpy's array, type or scalar is `_Recorded`,
which only remembers what it was given, and anything else that it asks for is refused.
"""

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from utils.errors import UserError
from utils.names import shown

NUMBER_TYPES = frozenset({"b1", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8"})


def read_label_array(path: Path, class_names: tuple[str, ...]) -> dict[str, list[int]]:
    """The classes of each image, by name; `UserError` where the file holds something else, or other classes."""
    try:
        content = io.BytesIO(path.read_bytes())
        np.lib.format.read_magic(content)
        _, _, dtype = np.lib.format.read_array_header_1_0(content)  # others are for headers of more than 64 KiB
        if not dtype.hasobject:
            raise ValueError(f"the array is of type {dtype}")
        table: Any = _ArrayUnpickler(content, encoding="latin1").load()  # the encoding is for files of Python 2
        if isinstance(table, _Recorded):
            (table,) = table.type_and_data()[1]
        # IRN's tables have 2007000032 for 2007_000032.
        names = [f"{key}"[:4] + "_" + f"{key}"[4:] if isinstance(key, int | np.integer) else str(key) for key in table]
        vectors = dict(zip(names, map(_vector, table.values()), strict=True))
    except Exception as error:  # for damaged files and other things the unpickler raises whatever Python has
        raise UserError(f"{path}: expected a dictionary of image name -> 0/1 vector: {f'{error}'[:200]}") from error
    for name, vector in vectors.items():
        if vector.shape != (len(class_names),):
            expected = f"expected ({len(class_names)},), one value a class; set data.classes to those of this file"
            raise UserError(f"{path}: image {shown(name)} has a vector of shape {vector.shape}, {expected}")
    return {name: np.flatnonzero(vector > 0).tolist() for name, vector in vectors.items()}


class _Recorded:
    """An array or a type of numpy, as what it was made of: arguments, then maybe a state."""

    def __init__(self, *given: Any):
        self.given, self.state = given, tuple[Any, ...]()

    def __setstate__(self, state: tuple) -> None:
        self.state = state

    def type_and_data(self) -> tuple[Any, Any]:
        """Of an array: its type, and bytes or a list of objects; its state has them, or newer numpy's arguments."""
        if self.state:
            _, _, type_, _, data = self.state
        else:
            data, type_, *_ = self.given
        return type_, data


class _ArrayUnpickler(pickle.Unpickler):
    """Reads pickled dictionaries of arrays and nothing else: any other name in the file is refused, not imported."""

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] in ("numpy", "_codecs"):  # whatever the module in numpy
            if name in ("ndarray", "_reconstruct", "_frombuffer", "dtype"):
                return _Recorded
            if name == "scalar":
                return lambda type_, data: _numbers(type_, data)[0]
            if name == "encode":  # how old protocols write bytes
                return lambda text, *_: text.encode("latin1")
        raise pickle.UnpicklingError(f"{module}.{name} is not an array")


def _numbers(type_: _Recorded, data: bytes | str) -> np.ndarray:
    """(N,) values of the bytes, which Python 2 wrote as text."""
    code = str(type_.given[0])  # such as f4 or O8
    if code not in NUMBER_TYPES:
        raise ValueError(f"the labels are of type {code[:20]}")
    order = ">" if type_.state and type_.state[1] == ">" else "<"
    return np.frombuffer(data.encode("latin1") if isinstance(data, str) else data, order + code)


def _vector(value: Any) -> np.ndarray:
    if isinstance(value, _Recorded):
        value = _numbers(*value.type_and_data())
    elif not isinstance(value, list | tuple) or not all(isinstance(one, int | float | np.number) for one in value):
        raise ValueError(f"a vector is a {type(value).__name__}")
    vector = np.array(value, np.float64)
    if (strange := vector[~np.isin(vector, (0, 1, -1))]).size:  # -1: not shown, as in VOC's lists of one class
        raise ValueError(f"a vector holds {strange[0]:g}")
    return vector
