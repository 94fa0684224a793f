"""VOC's annotations: an XML file an image, in any encoding, and the classes of its objects."""

import codecs
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
        faults.add(
            "missing",
            f"there is no annotation {path}, though its image is listed; add it or remove the name from the list",
        )
        return []
    except (OSError, LookupError, ValueError, ElementTree.ParseError) as error:
        what = (
            "is not text in the encoding that it declares, or in UTF-8"
            if isinstance(error, UnicodeError)
            else "is not XML"
        )
        faults.add("xml", f"annotation {path} {what} ({error}); save it as UTF-8, or copy it again from where it came")
        return []
    present = set()
    for number, name in enumerate(names, start=1):
        if name in class_names:
            present.add(class_names.index(name))
        else:
            known = ", ".join(class_names)
            faults.add(
                f"class {name}",
                f"annotation {path}, object {number}: unknown class '{name}'; known: {known} (data.classes changes "
                "them)",
            )
    return sorted(present)


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
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return re.sub(r"^<\?xml.*?\?>", "", content.decode("utf-16"), flags=re.DOTALL), False
    content = content.removeprefix(b"\xef\xbb\xbf").lstrip()
    declaration = re.match(rb"<\?xml.*?\?>", content, flags=re.DOTALL)
    encoding = re.search(rb"encoding\s*=\s*[\"']([\w.:-]+)", declaration[0]) if declaration is not None else None
    body = content[declaration.end() :] if declaration is not None else content
    if encoding is not None:
        name = codecs.lookup(encoding[1].decode("ascii", "replace")).name
        if name in ("utf-16", "utf-32") or not getattr(codecs.lookup(name), "_is_text_encoding", True):
            name = "utf-8"  # it would not have begun with plain letters
        return body.decode(name), False
    try:
        return body.decode("utf-8"), False
    except UnicodeDecodeError:
        return body.decode("latin-1"), True


class _NoDoctype(ElementTree.TreeBuilder):
    """VOC's annotations have no document type, and only there can entities be declared that grow into gigabytes."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise ValueError("it declares a document type, which annotations do not need")
