"""YAML text to plain values, each with the line that it stands on. Safe: no tags, bounded size and depth."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any, Final, cast

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from chipweave.errors import RecipeError

MAX_BYTES: Final = 1 << 20
MAX_NODES: Final = 100_000
MAX_DEPTH: Final = 64
_MAX_WHOLE: Final = 2**63

Path = tuple[str | int, ...]
"""Keys and list positions from the top of a document to a value."""

_CORE: Final[tuple[tuple[str, str, str], ...]] = (
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+|0x[0-9a-fA-F]+|0o[0-7]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
)
"""The core schema of YAML 1.2: `off`, `no` and dates stay text, as editors with a JSON Schema read them."""

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


class Loader(yaml.SafeLoader):
    """Composes nodes only; refuses tags and deep nesting while it does, before anything grows."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own class attribute, replaced not shared
    depth = 0

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        """Compose a node, or raise at one that a recipe may not hold."""
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "tag", None) is not None:
            raise _Refused("tags are not allowed", _line(event.start_mark))
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise _Refused(f"nested deeper than {MAX_DEPTH} levels", _line(event.start_mark))
        node: Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node


for _tag, _pattern, _first in _CORE:
    Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), list(_first))
Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile("^$"), [""])


class _Refused(Exception):  # noqa: N818 - never leaves this module
    """Something at a line that a recipe may not hold."""

    def __init__(self, why: str, line: int) -> None:
        super().__init__(why)
        self.why, self.line = why, line


def _line(mark: Any) -> int:
    return int(mark.line) + 1


@dataclass(frozen=True)
class Document:
    """Plain values, and where each stands, as ``FILE:LINE`` or ``--set a.b``."""

    mapping: dict[str, Any]
    marks: dict[Path, str] = field(default_factory=dict)

    def where(self, path: Path) -> str:
        """Place of a value, or of the nearest one around it that has a place."""
        return next(
            (self.marks[path[:n]] for n in range(len(path), -1, -1) if path[:n] in self.marks), "recipe"
        )


def read_document(path: FilePath) -> Document:
    """Read a YAML file whose top is a mapping.

    Raises
    ------
    RecipeError
        Missing, too large, not UTF-8, not YAML, not a mapping, or with something a recipe may not hold; the
        message begins with ``FILE:LINE``.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise RecipeError(
            f"{path}: no such recipe file", hint="`chipweave new NAME` writes one to begin with"
        ) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise RecipeError(f"{path}: cannot be read: {reason}") from None
    if len(data) > MAX_BYTES:
        raise RecipeError(f"{path}: larger than {MAX_BYTES >> 20} MiB; a recipe is a short text")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise RecipeError(f"{path}:{line}: not UTF-8 text") from None
    value, marks = parse(text, str(path))
    if not isinstance(value, dict):
        what = "empty" if value is None else "not a mapping at the top"
        raise RecipeError(f"{marks[()]}: {what}; a recipe begins with 'version: 1'")
    return Document(value, marks)


def parse(text: str, source: str, *, lines: bool = True) -> tuple[Any, dict[Path, str]]:
    """Value of a YAML text, and the place of each part of it.

    Parameters
    ----------
    text
        One YAML document.
    source
        Its name, which begins every place; followed by a line number if `lines`.

    Raises
    ------
    RecipeError
        Not YAML, or with something a recipe may not hold.
    """

    def place(line: int) -> str:
        return f"{source}:{line}" if lines else source

    try:
        node = Loader(text).get_single_node()
        builder = _Builder()
        value = None if node is None else builder.build(node, (), 0)
    except _Refused as error:
        raise RecipeError(f"{place(error.line)}: {error.why}") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        why = error.problem or error.context or "cannot be parsed"
        raise RecipeError(f"{place(_line(mark) if mark else 1)}: not YAML: {why}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise RecipeError(f"{place(line)}: not YAML: a character that may not stand in it") from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        # PyYAML lets chr() and int() fail on escapes and directives that are out of range.
        raise RecipeError(f"{place(1)}: not YAML: {str(error).splitlines()[0]}") from None
    return value, {(): place(1)} | {path: place(line) for path, line in builder.lines.items()}


class _Builder:
    """Plain values from nodes, aliases expanded, every node counted."""

    def __init__(self) -> None:
        self.lines: dict[Path, int] = {}
        self.nodes = 0

    def build(self, node: Node, path: Path, depth: int) -> Any:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise _Refused(
                f"more than {MAX_NODES} values once its aliases are written out", _line(node.start_mark)
            )
        if depth > MAX_DEPTH:
            raise _Refused(f"nested deeper than {MAX_DEPTH} levels", _line(node.start_mark))
        self.lines.setdefault(path, _line(node.start_mark))
        if isinstance(node, MappingNode):
            return {key: self.build(value, (*path, key), depth + 1) for key, value in self._items(node, path)}
        if isinstance(node, SequenceNode):
            return [self.build(value, (*path, i), depth + 1) for i, value in enumerate(node.value)]
        return _scalar(cast("ScalarNode", node))

    def _items(self, node: MappingNode, path: Path) -> Iterator[tuple[str | int, Node]]:
        seen: dict[str, int] = {}
        for key_node, value_node in node.value:
            line = _line(key_node.start_mark)
            key = _scalar(key_node) if isinstance(key_node, ScalarNode) else None
            if isinstance(key, bool) or not isinstance(key, str | int):
                raise _Refused("a key must be text or a whole number", line)
            if str(key) in seen:
                raise _Refused(
                    f"the key {str(key)[:60]!r} stands twice (first in line {seen[str(key)]})", line
                )
            seen[str(key)] = line
            self.lines[(*path, key)] = line
            yield key, value_node


def _scalar(node: ScalarNode) -> Any:
    text: str = node.value
    kind = node.tag.rpartition(":")[2]
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() == "true"
    if kind == "int":
        return _whole(text, node)
    if kind == "float":
        number = float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        if abs(number) == float("inf") and "inf" not in text.lower():
            raise _Refused("a number that is too large", _line(node.start_mark))
        return number
    if _CONTROL.search(text):
        raise _Refused("a control character in a text", _line(node.start_mark))
    return text


def _whole(text: str, node: ScalarNode) -> int:
    base = {"0x": 16, "0o": 8}.get(text[:2], 10)
    number = int(text, base) if len(text) <= 64 else _MAX_WHOLE
    if abs(number) >= _MAX_WHOLE:
        raise _Refused("a number that is too large", _line(node.start_mark))
    return number
