"""Dictionaries that are made when somebody reads them, for what a search mostly hands on unread."""

from collections import OrderedDict
from typing import Any, Callable, Dict, Optional, Tuple

from ..compat import map_as_dictionary


class LazyDict(Dict[str, Any]):
    """A dictionary whose items are made when somebody reads or changes it.

    To whoever reads, copies or pickles it, it is an ordinary dictionary.

    Args:
        make: makes the items; called once at most.
    """

    def __init__(self, make: Callable[[], Dict[str, Any]]) -> None:
        super().__init__()
        self.make: Optional[Callable[[], Dict[str, Any]]] = make

    @property
    def unread(self) -> bool:
        return self.make is not None

    def __init_subclass__(cls) -> None:
        map_as_dictionary(cls)

    def __reduce__(self) -> Tuple[Any, ...]:
        # The kind of dictionary that torch.load rebuilds with its protection on.
        return OrderedDict, (), None, None, iter(self.items())


def made_first(method: Callable[..., Any]) -> Callable[..., Any]:
    def call(self: LazyDict, *args: object, **kwargs: object) -> object:
        if self.make is not None:
            make, self.make = self.make, None
            dict.update(self, make())
        return method(self, *args, **kwargs)

    return call


for name in (
    *("__getitem__", "__setitem__", "__delitem__", "__iter__", "__reversed__", "__len__"),
    *("__contains__", "__eq__", "__ne__", "__repr__", "get", "keys", "values", "items", "copy"),
    *("pop", "popitem", "setdefault", "update", "clear", "__or__", "__ror__", "__ior__"),
):
    setattr(LazyDict, name, made_first(getattr(dict, name)))
