"""YAML of settings: plain values only, by the safe loader, which runs nothing."""

from typing import Any

import yaml

# What PyYAML raises for texts that are no YAML, or whose values Python cannot hold, such as the 31st of February.
NOT_YAML = (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError)


def parse_yaml(text: str) -> tuple[yaml.Node | None, Any]:
    """The nodes, which know their lines, and the value of a YAML text.

    Raises:
        YAMLError, and others of `NOT_YAML`: it is no YAML.
    """
    return yaml.compose(text, Loader=yaml.SafeLoader), yaml.safe_load(text)
