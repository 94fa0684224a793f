"""VOC's annotations: an XML file an image, in any encoding, and the classes of its objects."""

import re
import xml.etree.ElementTree as ElementTree
from functools import cache
from pathlib import Path

from data.faults import Faults


def labels_from_xml(path: Path, class_names: tuple[str, ...], faults: Faults) -> list[int]:
    """Indices of the classes that an annotation names, sorted; objects marked difficult count."""
    try:
        state = path.stat()
        names = _objects_of(path, (state.st_size, state.st_mtime_ns))
    except FileNotFoundError:
        remedy = "add it or remove the name from the list"
        faults.add("missing", f"there is no annotation {path}, though its image is listed; {remedy}")
        return []
    except (OSError, LookupError, ValueError, ElementTree.ParseError) as error:
        is_text = not isinstance(error, UnicodeError)
        what = "is not XML" if is_text else "is not text in the encoding that it declares, or in UTF-8"
        faults.add("xml", f"annotation {path} {what} ({error}); save it as UTF-8, or copy it again from where it came")
        return []
    for number, name in enumerate(names, start=1):
        if name not in class_names:
            known = f"known: {', '.join(class_names)} (data.classes changes them)"
            faults.add(f"class {name}", f"annotation {path}, object {number}: unknown class '{name}'; {known}")
    return sorted({class_names.index(name) for name in names if name in class_names})


@cache
def _objects_of(path: Path, state: tuple[int, int]) -> tuple[str, ...]:
    """Class names of an annotation's objects, read once in a process; `state` tells versions of the file apart."""
    text, is_guessed = _decoded(path.read_bytes())
    tree = ElementTree.fromstring(text, ElementTree.XMLParser(target=_NoDoctype()))
    names = tuple((element.text or "").strip() for element in tree.iterfind("object/name"))
    if is_guessed and not all(name.isascii() for name in names):
        raise ValueError("it declares no encoding, is not UTF-8, and its class names are not plain letters")
    return names


def _decoded(content: bytes) -> tuple[str, bool]:
    """The text without its declaration, whose encoding the parser may not know, and whether it is a guess.

    Without a declared encoding, what is not UTF-8 is read byte by byte: tags are the same in all usual encodings.
    """
    is_guessed = False
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        text = content.decode("utf-16")
    else:
        declared = re.match(rb"[^>]*encoding\s*=\s*[\"']([\w.:-]+)", content)
        encoding = declared[1].decode("ascii", "replace").lower() if declared is not None else "utf-8"
        try:  # a file that declares UTF-16 would not begin with plain letters
            text = content.decode("utf-8" if encoding.startswith(("utf-16", "utf-32")) else encoding)
        except UnicodeDecodeError:
            if declared is not None:
                raise
            text, is_guessed = content.decode("latin-1"), True
    return re.sub(r"^\s*<\?xml.*?\?>", "", text.removeprefix("\ufeff"), flags=re.DOTALL), is_guessed


class _NoDoctype(ElementTree.TreeBuilder):
    """VOC's annotations have no document type, and only there can entities be declared that grow into gigabytes."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise ValueError("it declares a document type, which annotations do not need")
