"""What a strict JSON schema may ask for: only what the engine's grammars enforce, so that nothing in it is silently dropped.

llama.cpp turns a schema into a grammar (common/json-schema.cpp decides by which of its keywords, json-schema-to-grammar.cpp
writes the rules) and leaves out, without a word, what it has no rule for: `anyOf` makes it forget all that stands beside it. So
each schema is looked at as the one kind that it is there, and may have the keywords of that kind alone. OpenAI refuses the
others when a schema is `strict`; so is done here. A schema that is not strict is followed as far as the engine does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from freehold.protocol.requests.common import shown
from freehold.protocol.requests.patterns import enforceable

SAYS_NOTHING = {
    "title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "discriminator",
    "$schema", "$id", "$comment", "$anchor", "$defs", "definitions",
}  # fmt: skip
_OF_TYPE: Mapping[str, tuple[str, ...]] = {
    "object": ("properties", "required", "additionalProperties"),
    "array": ("items", "prefixItems", "minItems", "maxItems"),
    "string": ("minLength", "maxLength", "pattern", "format"),
    "integer": ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"),
    "number": ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"),
    "boolean": (),
    "null": (),
}
_WHOLE = ("$ref", "oneOf", "anyOf", "allOf", "const", "enum")  # each is all that the engine sees of a schema
ENFORCED = {"type", *_WHOLE, *(name for names in _OF_TYPE.values() for name in names)}
_FORMATS = ("date", "date-time", "time", "uuid")
_FARTHEST = 10**15
_DEEPEST = 20  # levels at which two alternatives are compared
_MOST_COMPARED = 100_000  # pairs of schemas, or of their values: half a second

Schema = Mapping[str, Any]


def unenforced(schema: Schema) -> str | None:
    """What in a schema of a servable size the engine would not hold the model to, as a sentence with its place; None when it
    enforces all."""
    for place, found in _Judge(schema).all():
        return f"at {place[:200] or 'its root'}: {found}"
    return None


class _Judge:
    def __init__(self, root: Schema):
        self._root = root
        self._rules: dict[str, str] = {}  # by the engine's names of rules, the references that they are for
        self._loops: dict[str, bool] = {}  # by reference, whether it leads back to itself
        self._known: dict[tuple[int, int], bool] = {}  # by two schemas' identities, whether no value fits both
        self._compared = 0

    def all(self) -> Iterator[tuple[str, str]]:
        yield from self._walk(self._root, "")

    def _walk(self, schema: object, place: str) -> Iterator[tuple[str, str]]:
        if not isinstance(schema, Mapping):
            yield place, "a schema must be an object."
            return
        for problem in self._problems(schema):
            yield place, problem
        for keyword in ("properties", "$defs", "definitions"):
            children = schema.get(keyword)
            if isinstance(children, Mapping):
                for name, child in children.items():
                    yield from self._walk(child, f"{place}/{keyword}/{name}")
        for keyword in ("anyOf", "oneOf", "allOf", "prefixItems"):
            branches = schema.get(keyword)
            if isinstance(branches, list):
                for number, child in enumerate(branches):
                    yield from self._walk(child, f"{place}/{keyword}/{number}")
        for keyword in ("items", "additionalProperties"):
            child = schema.get(keyword)
            if child is not None and not (keyword == "additionalProperties" and isinstance(child, bool)):
                yield from self._walk(child, f"{place}/{keyword}")

    def _problems(self, schema: Schema) -> Iterator[str]:
        unknown = [name for name in schema if name not in ENFORCED and name not in SAYS_NOTHING]
        if unknown:
            yield f"{shown(unknown[0])} is not enforced."
        whole = next((name for name in _WHOLE if name in schema), None)
        if whole is None:
            yield from self._typed(schema)
            return
        beside = [name for name in schema if name in ENFORCED and name != whole]
        if whole in ("const", "enum"):
            yield from _values(schema, whole)
            beside = [name for name in beside if name != "type"]
        if beside:
            yield f"{shown(beside[0])} is not enforced beside '{whole}'."
        elif whole == "$ref":
            yield from self._reference(schema["$ref"])
        elif whole != "const" and not (isinstance(schema[whole], list) and schema[whole]):
            yield f"'{whole}' must be a list that is not empty."
        elif whole == "oneOf":
            yield from self._exclusive(schema["oneOf"])
        elif whole == "allOf":
            yield from self._merged(schema["allOf"])

    def _typed(self, schema: Schema) -> Iterator[str]:
        kinds = _kinds(schema)
        if not kinds or not all(isinstance(kind, str) and kind in _OF_TYPE for kind in kinds):
            yield "'type' must be one of, or a list of: " + ", ".join(_OF_TYPE) + "."
            return
        if schema.get("type") is None and kinds not in (["object"], ["array"]):
            loose = [name for name in schema if name in ENFORCED]
            if loose:
                yield f"{shown(loose[0])} is enforced with its 'type' only."
            return
        for name in schema:
            if name in ENFORCED and name != "type" and not any(name in _OF_TYPE[kind] for kind in kinds):
                yield f"{shown(name)} says nothing of the type {shown(schema.get('type'))}."
        for kind in kinds:
            yield from _CHECKS.get(kind, _nothing)(schema)

    def _reference(self, reference: object) -> Iterator[str]:
        found = self._target(reference)
        if found is None:
            yield f"the reference {shown(reference)} leads to no schema in this one; one like '#/$defs/name' does."
            return
        name = re.sub(r"[^a-zA-Z0-9-]+", "-", str(reference))
        if self._rules.setdefault(name, str(reference)) != reference:
            yield f"the engine cannot tell {shown(reference)} from {shown(self._rules[name])}: rename one of them."
        if self._endless(str(reference)):
            yield f"{shown(reference)} refers to itself before anything else."

    def _target(self, reference: object) -> Schema | None:
        """As the engine finds it, which knows no escapes."""
        if not isinstance(reference, str) or not reference.startswith("#/"):
            return None
        node: object = self._root
        for name in reference.split("/")[1:]:
            if isinstance(node, Mapping):
                node = node.get(name)
            elif isinstance(node, list) and name.isdecimal() and len(name) < 6 and int(name) < len(node):
                node = node[int(name)]
            else:
                return None
        return node if isinstance(node, Mapping) and re.search("[~%]", reference) is None else None

    def _endless(self, reference: str) -> bool:
        if reference in self._loops:
            return self._loops[reference]
        self._loops[reference] = True  # where it is met again on the way; so are all from which a loop is reached
        way = [(reference, self._first(reference))]
        while way:
            for following in way[-1][1]:
                if self._loops.get(following):
                    return True
                if following not in self._loops:
                    self._loops[following] = True
                    way.append((following, self._first(following)))
                    break
            else:
                self._loops[way.pop()[0]] = False
        return False

    def _first(self, reference: str) -> Iterator[str]:
        """The references that are followed to know how a value of this one begins."""
        left: list[object] = [self._target(reference)]
        while left:
            node = left.pop()
            if not isinstance(node, Mapping):
                continue
            if isinstance(node.get("$ref"), str):
                yield node["$ref"]
            left += [
                branch for key in ("anyOf", "oneOf", "allOf") if isinstance(found := node.get(key), list) for branch in found
            ]

    def _resolved(self, schema: object) -> object:
        for _ in range(_DEEPEST):
            if not isinstance(schema, Mapping) or "$ref" not in schema:
                return schema
            schema = self._target(schema["$ref"])
        return None

    def _exclusive(self, branches: Sequence[object]) -> Iterator[str]:
        """The engine takes `oneOf` for `anyOf`: the same where no value can fit two of its schemas."""
        for number, one in enumerate(branches):
            if all(self._apart(one, other, 0) for other in branches[number + 1 :]):
                continue
            if self._compared > _MOST_COMPARED:
                yield "'oneOf' is enforced where its schemas cannot overlap, and here are too many to compare. Use 'anyOf'."
            else:
                yield (
                    "'oneOf' is enforced where its schemas cannot overlap: by their types, or by a required property with "
                    "another 'const' or 'enum' in each. Use 'anyOf'."
                )
            return

    def _apart(self, one: object, other: object, depth: int) -> bool:
        """Whether surely no value fits both. Of two that contain themselves, what tells them apart must stand elsewhere."""
        one, other = self._resolved(one), self._resolved(other)
        if depth > _DEEPEST or not isinstance(one, Mapping) or not isinstance(other, Mapping):
            return False
        pair = id(one), id(other)
        if pair not in self._known:
            self._known[pair] = False
            self._known[pair] = self._tell_apart(one, other, depth)
        return self._known[pair]

    def _tell_apart(self, one: Schema, other: Schema, depth: int) -> bool:
        mine, theirs = _listed(one), _listed(other)
        self._compared += len(mine or ()) * len(theirs or ()) or 1
        if self._compared > _MOST_COMPARED:
            return False
        for first, second in ((one, other), (other, one)):
            for key in ("anyOf", "oneOf"):
                if isinstance(branches := first.get(key), list):
                    return all(self._apart(branch, second, depth + 1) for branch in branches)
        if mine is not None and theirs is not None:
            return not any(_same(value, another) for value in mine for another in theirs)
        if not _types(one) & _types(other):
            return True
        shared = set(_required(one)) & set(_required(other))
        return any(self._apart(one["properties"][name], other["properties"][name], depth + 1) for name in shared)

    def _merged(self, branches: Sequence[object]) -> Iterator[str]:
        """The engine makes one closed object of all properties, or takes the only enum."""
        found = [self._resolved(branch) for branch in branches]
        if len(found) == 1 and isinstance(found[0], Mapping) and "enum" in found[0]:
            return
        names: list[str] = []
        for schema in found:
            if (
                not isinstance(schema, Mapping)
                or set(_WHOLE) & schema.keys()
                or not isinstance(schema.get("properties"), Mapping)
            ):
                yield "'allOf' is enforced for schemas of objects with properties only."
                return
            if len(found) > 1 and schema.get("additionalProperties") is False:
                yield "'allOf' of schemas that allow no other properties fits nothing."
            names += schema["properties"]
        if len(names) > len(set(names)):
            yield "in 'allOf', a property may be in one of the schemas only."


def _nothing(schema: Schema) -> Iterator[str]:
    return iter(())


def _kinds(schema: Schema) -> list[Any]:
    kinds = schema.get("type")
    if isinstance(kinds, list):
        return kinds
    if kinds is not None:
        return [kinds]
    if "properties" in schema or schema.get("additionalProperties", True) is not True:
        return ["object"]
    return ["array"] if "items" in schema or "prefixItems" in schema else list(_OF_TYPE)


def _types(schema: Schema) -> set[str]:
    """Types that a value of this schema may have."""
    listed = _listed(schema)
    if listed is not None:
        return {"boolean" if isinstance(value, bool) else _NAMES.get(type(value), "null") for value in listed}
    kinds = {kind for kind in _kinds(schema) if isinstance(kind, str)}
    return kinds | ({"integer"} if "number" in kinds else set())


_NAMES: Mapping[type, str] = {str: "string", int: "integer", float: "integer", list: "array", dict: "object"}


def _listed(schema: Schema) -> list[Any] | None:
    if "const" in schema:
        return [schema["const"]]
    return schema["enum"] if isinstance(schema.get("enum"), list) else None


def _same(one: object, other: object) -> bool:
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _required(schema: Schema) -> list[str]:
    """Properties that it has a schema for, and every value of it has."""
    required, properties = schema.get("required"), schema.get("properties")
    if _types(schema) != {"object"} or not isinstance(required, list) or not isinstance(properties, Mapping):
        return []
    return [name for name in required if isinstance(name, str) and name in properties]


def _values(schema: Schema, whole: str) -> Iterator[str]:
    kinds = schema.get("type")
    kinds = kinds if isinstance(kinds, list) else [kinds]
    listed = _listed(schema) or []
    if kinds != [None] and not all(any(_is(value, kind) for kind in kinds) for value in listed):
        yield f"'{whole}' has a value that is not of the 'type'."


def _is(value: object, kind: object) -> bool:
    match kind:
        case "integer":
            return not isinstance(value, bool) and (isinstance(value, int) or (isinstance(value, float) and value.is_integer()))
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "boolean":
            return isinstance(value, bool)
        case "null":
            return value is None
    return isinstance(value, {"string": str, "array": list, "object": dict}.get(str(kind), ()))


def _object(schema: Schema) -> Iterator[str]:
    required, properties = schema.get("required"), schema.get("properties")
    if isinstance(required, list):
        known = set(properties) if isinstance(properties, Mapping) else set()
        missing = [name for name in required if not isinstance(name, str) or name not in known]
        if missing:
            yield f"{shown(missing[0])} is required, but not among the properties."
    if properties and schema.get("additionalProperties", False) is not False:
        yield "'additionalProperties' beside 'properties' must be false: other names are not told from these."


def _array(schema: Schema) -> Iterator[str]:
    least, most = _counts(schema, "minItems", "maxItems")
    if least > most:
        yield "'minItems' is more than 'maxItems'."
    prefix = schema.get("prefixItems")
    if prefix is None:
        return
    if not isinstance(prefix, list):
        yield "'prefixItems' must be a list."
    elif "items" in schema:
        yield "'items' is not enforced beside 'prefixItems'; an array has as many items as that."
    elif not least <= len(prefix) <= most:
        yield "an array has as many items as 'prefixItems', which 'minItems' and 'maxItems' do not allow."


def _string(schema: Schema) -> Iterator[str]:
    least, most = _counts(schema, "minLength", "maxLength")
    if least > most:
        yield "'minLength' is more than 'maxLength'."
    limits = schema.keys() & {"minLength", "maxLength"}
    if "format" in schema:
        if schema["format"] not in _FORMATS:
            yield f"the format {shown(schema['format'])} is not enforced; these are: {', '.join(_FORMATS)}."
        if limits:
            yield "beside 'format', other limits of the string are not enforced."
    if "pattern" in schema:
        if limits or "format" in schema:
            yield "beside 'pattern', other limits of the string are not enforced."
        if not isinstance(schema["pattern"], str) or not enforceable(schema["pattern"]):
            yield (
                "this 'pattern' is not enforced. Those that are begin with ^, end with $ and hold literals, [classes] that "
                "list their characters, groups, | within groups, and repetition: [0-9] instead of \\d."
            )


def _integer(schema: Schema) -> Iterator[str]:
    bounds = [name for name in _OF_TYPE["integer"] if name in schema]
    if "number" in _kinds(schema):
        return
    if not all(type(schema[name]) is int and abs(schema[name]) < _FARTHEST for name in bounds):
        yield "limits of integers must be integers of at most 15 digits."
    elif len(bounds) > len({name[-7:].lower() for name in bounds}):
        yield "beside 'minimum' and 'maximum', their exclusive forms are not enforced."
    else:
        least = schema.get("minimum", schema.get("exclusiveMinimum", -_FARTHEST) + 1)
        most = schema.get("maximum", schema.get("exclusiveMaximum", _FARTHEST) - 1)
        if least > most:
            yield "its limits leave no integer."


def _number(schema: Schema) -> Iterator[str]:
    if any(name in schema for name in _OF_TYPE["number"]):
        yield "limits are enforced for the type 'integer' only."


_CHECKS: Mapping[str, Callable[[Schema], Iterator[str]]] = {
    "object": _object,
    "array": _array,
    "string": _string,
    "integer": _integer,
    "number": _number,
}


def _counts(schema: Schema, least: str, most: str) -> tuple[float, float]:
    """What no count is, the engine says."""
    found = [schema.get(name, default) for name, default in ((least, 0), (most, float("inf")))]
    return tuple(value if isinstance(value, int | float) else 0 for value in found)  # type: ignore[return-value]
