"""Classes as people name them."""

from collections.abc import Sequence

from utils.choices import nearest
from utils.errors import UserError


def find_class(name: str, class_names: Sequence[str], where: str) -> int:
    """The position of a class by its name, in any case.

    Raises:
        UserError: the network does not know it; names `where` it was said and the nearest that it knows.
    """
    by_name = {known.casefold(): index for index, known in reversed(list(enumerate(class_names)))}
    index = by_name.get(name.strip().casefold())
    if index is None:
        known = ", ".join(class_names[:30]) + (f", ... ({len(class_names)} in all)" if len(class_names) > 30 else "")
        raise UserError(
            f"{where}: the network knows no class '{name}'{nearest(name.strip(), class_names) or ';'} it knows {known}"
        )
    return index
