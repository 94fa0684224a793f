"""YAML of settings: plain values only, by a safe loader, which runs nothing."""

import re
from typing import Any

import yaml

# What PyYAML raises for texts that are no YAML, or whose values Python cannot hold, such as the 31st of February.
NOT_YAML = (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError)
BOOL = "tag:yaml.org,2002:bool"


class _Loader(yaml.SafeLoader):
    """The safe loader with the truth values of YAML 1.2: yes, no, on and off are text, as classes are called so."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in rules if tag != BOOL]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(BOOL, re.compile("(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))


def parse_yaml(text: str) -> tuple[yaml.Node | None, Any]:
    """The nodes, which know their lines, and the value of a YAML text.

    Raises:
        YAMLError, and others of `NOT_YAML`: it is no YAML.
    """
    return yaml.compose(text, Loader=_Loader), yaml.load(text, Loader=_Loader)
