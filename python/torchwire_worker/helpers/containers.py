"""One walk over containers of tensors: the outputs of a model, and its inputs.

Containers are lists, tuples, named tuples, dicts, deques, dataclasses, classes derived from any of these (such as
Hugging Face's ModelOutput), other mappings, and the classes that are registered with `torch.utils._pytree`. Everything
else is a leaf. A container may contain itself.
"""

from __future__ import annotations

import dataclasses
from collections import OrderedDict, UserList, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from types import MemberDescriptorType
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree

# A class comes before its base class.
_PLAIN: tuple[Any, ...] = (OrderedDict, defaultdict, dict, list, deque, tuple)


def tensors_in(value: Any) -> list[Tensor]:
    """Return every tensor in `value`, in order. A container that occurs twice counts once."""
    return list(_tensors(value, set()))


def with_tensors(function: Callable[[Tensor], Tensor], value: Any) -> Any:
    """Return `value` with `function` applied to each of its tensors.

    The result is of the same type, down to the last container, and has the same attributes; constructors of classes are
    not called. If the function changes nothing, the result is `value` itself.
    """
    if isinstance(value, Tensor):
        return function(value)
    if torch.compiler.is_compiling():
        # The compiler can follow this function, but cannot look inside an object.
        return _pytree.tree_map_only(Tensor, function, value)
    tensors = tensors_in(value)
    # Keyed by identity: `tensors` keeps them alive, so that no identity is used again.
    done: dict[int, Any] = {}
    for tensor in tensors:
        if id(tensor) not in done:
            done[id(tensor)] = function(tensor)
    return value if all(done[id(tensor)] is tensor for tensor in tensors) else _rebuilt(value, done)


def _tensors(value: Any, seen: set[int]) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
        return
    children = _children(value)
    if children is None or id(value) in seen:
        return
    seen.add(id(value))
    for child in children:
        yield from _tensors(child, seen)


def _children(value: Any) -> list[Any] | None:
    """Return the items and attributes of a container, or None for a leaf."""
    base = _base(value)
    if base is None:
        registered = _registered(value)
        return None if registered is None else registered[0]
    items = [*(base.values(value) if issubclass(base, dict) else base.__iter__(value) if base is not object else ())]
    # A ModelOutput has each of its items as an attribute, too.
    known = set(map(id, items))
    attributes = [*(item for _, item in _slots(value)), *_attributes(value).values()]
    return [*items, *(item for item in attributes if id(item) not in known)]


def _rebuilt(value: Any, done: dict[int, Any]) -> Any:
    """Return the new `value`.

    `done` has the new value of each tensor and of each container that has one, by the identity of the old one.
    """
    if id(value) in done:
        return done[id(value)]
    base = _base(value)
    if base is not None:
        return _like(value, base, done)
    registered = _registered(value)
    if registered is None:
        return value
    children, spec = registered
    new = _pytree.tree_unflatten([_rebuilt(child, done) for child in children], spec)
    done[id(value)] = new
    return new


def _like(value: Any, base: Any, done: dict[int, Any]) -> Any:
    """Return another object of the class of `value`, made by the methods of `base` alone: those of the class may do
    anything, and ask for other arguments.
    """
    if base is tuple:
        items = tuple([_rebuilt(item, done) for item in tuple.__iter__(value)])
        # The tuple may lie within a container that it contains. Then it is made by now.
        if id(value) in done:
            return done[id(value)]
        done[id(value)] = new = tuple.__new__(type(value), items)
    else:
        done[id(value)] = new = base.__new__(type(value))
        if base is list:
            list.extend(new, (_rebuilt(item, done) for item in list.__iter__(value)))
        elif base is deque:
            deque.__init__(new, (_rebuilt(item, done) for item in deque.__iter__(value)), value.maxlen)
        elif base is not object:
            if base is defaultdict:
                new.default_factory = value.default_factory
            for key, item in base.items(value):
                base.__setitem__(new, key, _rebuilt(item, done))
    for slot, item in _slots(value):
        slot.__set__(new, _rebuilt(item, done))
    for name, item in [*_attributes(value).items()]:
        new.__dict__[name] = _rebuilt(item, done)
    return new


def _base(value: Any) -> Any:
    """Return the plain container that `value` is or is derived from; `object` if all that it holds is in its
    attributes; None for anything else.
    """
    kind = type(value)
    for base in _PLAIN:
        if isinstance(value, base):
            # Only their class can make records of C, such as torch.return_types.max.
            return None if hasattr(kind, "n_sequence_fields") else base
    if isinstance(value, torch.nn.Module) or kind in _pytree.SUPPORTED_NODES:
        return None
    return (
        object
        if (dataclasses.is_dataclass(kind) or isinstance(value, (Mapping, UserList))) and _is_made_by_object(kind)
        else None
    )


def _is_made_by_object(kind: type) -> bool:
    """Return whether `object` is the only class of C that knows its contents."""
    try:
        object.__new__(kind)
    except TypeError:
        return False
    return True


def _slots(value: Any) -> list[tuple[MemberDescriptorType, Any]]:
    """Return the contents of its slots, which the descriptors of its classes read without asking the object."""
    found = []
    for kind in type(value).__mro__:
        for one in vars(kind).values() if "__slots__" in vars(kind) else ():
            if isinstance(one, MemberDescriptorType):
                with suppress(AttributeError):
                    found.append((one, one.__get__(value, kind)))
    return found


def _attributes(value: Any) -> dict[str, Any]:
    """Return the object's own dict."""
    try:
        return {} if type(value) in _PLAIN else object.__getattribute__(value, "__dict__")
    except AttributeError:
        return {}


def _registered(value: Any) -> tuple[list[Any], Any] | None:
    """Return one level of what torch.utils._pytree knows, or None."""
    children, spec = _pytree.tree_flatten(value, is_leaf=lambda node: node is not value)
    return None if len(children) == 1 and children[0] is value else (children, spec)
