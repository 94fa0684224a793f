"""YAML from people and files: plain values only, and no more of them than a settings file can mean."""

import re
from typing import Any

import yaml

# What PyYAML raises for texts that are no YAML, or whose values Python cannot hold, such as the 31st of February.
NOT_YAML = (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError)
MOST_VALUES = 20_000  # references counted as often as they are used
DEEPEST = 100  # lists in lists; the parser's time grows with the square of this
LONGEST_NUMBER = 100  # characters; Python itself refuses to write one of more than 4,300 digits


BOOL = "tag:yaml.org,2002:bool"


class _ShallowLoader(yaml.SafeLoader):
    """The safe loader, which ends as soon as a text is too deep."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """One node, and by way of itself the nodes in it."""
        if self.depth == DEEPEST and self.check_event(yaml.CollectionStartEvent):
            raise yaml.YAMLError(f"it has lists in lists deeper than {DEEPEST}")
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


# YAML 1.1 reads yes, no, on and off as truth values, and people name classes so. As in YAML 1.2, they are text here.
_ShallowLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in rules if tag != BOOL]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_ShallowLoader.add_implicit_resolver(BOOL, re.compile("true|True|TRUE|false|False|FALSE"), list("tTfF"))


def parse_yaml(text: str) -> tuple[yaml.Node | None, Any]:
    """The nodes and the value of a YAML text, by the safe loader, which makes plain values and runs nothing.

    A few lines of references to references can stand for more values than any memory holds, so they are counted first.

    Raises:
        YAMLError, and others of `NOT_YAML`: it is no YAML, is deeper than `DEEPEST`, stands for more than `MOST_VALUES`, or
            has a longer number than `LONGEST_NUMBER`.
    """
    node = yaml.compose(text, Loader=_ShallowLoader)
    count, waiting = 0, [node]
    while waiting:
        count += 1
        if count > MOST_VALUES:
            raise yaml.YAMLError(f"it stands for more than {MOST_VALUES} values")
        inner = waiting.pop()
        if isinstance(inner, yaml.MappingNode):
            waiting += [part for pair in inner.value for part in pair]
        elif isinstance(inner, yaml.SequenceNode):
            waiting += inner.value
        elif inner is not None and inner.tag == "tag:yaml.org,2002:int" and len(inner.value) > LONGEST_NUMBER:
            raise yaml.YAMLError(f"it has a number of more than {LONGEST_NUMBER} digits")
    return node, yaml.load(text, Loader=_ShallowLoader)  # a safe loader
